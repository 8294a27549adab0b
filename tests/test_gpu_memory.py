"""The plan's GPU memory against an account of the real code's tensors on a GPU without data.

It costs 20 s of processor time, most of it in one process that runs every stage at 7B's widths.
"""

import dataclasses
import sys

import pytest

from wagle.experiment import gpu_memory
from wagle.experiment.gpu_memory import Passes
from wagle.experiment.model_shape import SHAPES
from wagle.runtime.identity import ROOT

sys.path.insert(0, str(ROOT / "tests" / "rehearsal"))
import guard

SHAPE = SHAPES["meta-llama/Llama-2-7b-hf"]


@pytest.fixture(scope="module")
def account():
    return guard.run("memory.py")


def planned(case: str, layers: int) -> float:
    """What the plan says of a case of tests/rehearsal/memory.py, in bytes."""
    model = dataclasses.replace(SHAPE, layers=layers)
    stage, policy, *how = [*case.split(), ""]
    if stage == "scoring":
        return gpu_memory.scoring(model, 16384, "bf16")
    if stage == "generation":
        return gpu_memory.generation(model, 65536, 75 / 275, "bf16")
    if stage == "gradients":
        passes = Passes(model=model, tokens=4050, precision="bf16", checkpointed=bool(policy))
        return gpu_memory.attribution(passes)
    precision = "fp32" if policy == "fp32" else "bf16"
    passes = Passes(
        model=model,
        tokens=75 * (8 if stage == "unlearn" else 32),
        precision=precision,
        autocast="autocast" in how or (stage == "unlearn" and precision == "fp32"),
        checkpointed="checkpointed" in how,
    )
    return gpu_memory.training(
        passes, policy, masked=stage == "unlearn", offloaded="offloaded" in how
    )


def test_the_plan_is_within_five_percent_of_every_stage(account):
    compared = {
        (case, layers): (planned(case, int(layers)) / 1e9, measured)
        for case, peaks in account["peaks"].items()
        for layers, measured in peaks.items()
    }
    assert len(compared) == 29
    assert {
        case: pair for case, pair in compared.items() if pair[0] != pytest.approx(pair[1], rel=0.05)
    } == {}


def test_what_a_block_adds_is_within_five_percent_too(account):
    """So the plan holds at 32 layers, where the blocks are nearly all of the memory."""
    for case, peaks in account["peaks"].items():
        planned_block = planned(case, 3) - planned(case, 2)
        measured = (peaks["3"] - peaks["2"]) * 1e9
        assert planned_block == pytest.approx(measured, rel=0.05), case


def test_the_optimizers_traffic_is_what_its_operators_move(account):
    for policy, traffic in account["traffic"].items():
        assert gpu_memory.STEP_TRAFFIC[policy] == pytest.approx(traffic, rel=0.01), policy
