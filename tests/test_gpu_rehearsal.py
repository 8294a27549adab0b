"""Each stage on a pretended GPU: no operator mixes devices, and the host seldom waits.

tests/rehearsal/stages.py runs them in one process: gradients, input norms, scoring, generation, and
unlearning under each precision, with LoRA, with offloaded moments, saved and resumed. Values are
those of the CPU. It costs 8 s of processor time. No real GPU is needed, and none is tested.
"""

import re
import sys

import pytest

from wagle.runtime.identity import ROOT

sys.path.insert(0, str(ROOT / "tests" / "rehearsal"))
import guard


@pytest.fixture(scope="module")
def waits():
    """Stage -> place in the code -> how often the host waited for the GPU there."""
    return guard.run("stages.py")["waits"]


def count(places: dict[str, int], pattern: str) -> int:
    return sum(n for place, n in places.items() if re.search(pattern, place))


def test_every_stage_ran(waits):
    unlearned = {"fp32", "bf16", "bf16-stochastic", "bf16-kahan", "lora", "offloaded"}
    others = {"gradients", "norms", "scoring", "generation"}
    assert set(waits) == others | {f"unlearn {name}" for name in unlearned}
    assert all(waits.values())  # a stage without waits would mean that none are counted


def test_a_pass_waits_only_for_what_transformers_looks_at(waits):
    """Two looks at the padding mask in each forward pass; losses add none of their own.

    Rows that follow each other are cut out of a pass's outputs with two reads for each side.
    """
    for stage, places in waits.items():
        passes = count(places, r"outputs\.py.*transformers") / 2
        own = sum(n for place, n in places.items() if re.search(r"outputs\.py:\d+$", place))
        assert own <= (4 * passes if stage.startswith("unlearn") else 0), stage
    assert count(waits["gradients"], "transformers") == 2 * 2  # two micro-batches


def test_gradients_wait_twice_at_their_end_and_scoring_once_a_batch(waits):
    assert count(waits["gradients"], r"gradients\.py") == 2
    assert count(waits["scoring"], r"scoring\.py:\d+$") == 2  # 12 texts in two batches


def test_a_training_step_waits_twice(waits):
    """For its losses, and for the norm of its gradient: each is one place, passed once a step."""
    for stage, places in waits.items():
        if stage.startswith("unlearn"):
            steps = {
                place: n
                for place, n in places.items()
                if "training/loop.py" in place or "training/step_gradients.py" in place
            }
            assert len(steps) == 2 and len(set(steps.values())) == 1, stage


def test_decoding_waits_at_most_four_times_a_token(waits):
    assert count(waits["generation"], r"generation\.py") <= 4 * 4
