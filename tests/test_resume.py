"""The state of a stopped run: taken up whole, refused with any bit changed, left alone when it is another run's."""

import random

import pytest
import torch

from wagle.errors import WagleError
from wagle.training import optimizers, resume


def optimizer(policy="fp32"):
    dtype = torch.float32 if policy == "fp32" else torch.bfloat16
    made = optimizers.optimizer(
        policy, {"w": torch.nn.Parameter(torch.ones(3, 5, dtype=dtype))}, None, 0.0
    )
    made.parameters["w"].grad = torch.full((3, 5), 0.5, dtype=dtype)
    return made


@pytest.mark.parametrize("policy", optimizers.POLICIES)
def test_round_trip(tmp_path, policy):
    first, second = optimizer(policy), optimizer(policy)
    first.step(0.1)
    resume.save(tmp_path, "me", 1, first.parameters, first, ["{}\n"])
    assert resume.take_up(tmp_path, "other", second.parameters, second) == (0, [])
    assert resume.take_up(tmp_path, "me", second.parameters, second) == (1, ["{}\n"])
    assert torch.equal(first.parameters["w"], second.parameters["w"])
    assert all(
        torch.equal(value, second.tensors("w")[key]) for key, value in first.tensors("w").items()
    )
    assert (
        resume.take_up(None, "me", {}, second)
        == resume.take_up(tmp_path / "none", "me", {}, second)
        == (0, [])
    )


def test_any_changed_bit_is_refused(tmp_path):
    first, draw = optimizer(), random.Random(0)
    first.step(0.1)
    resume.save(tmp_path, "me", 1, first.parameters, first, ["{}\n"])
    path = tmp_path / resume.NAME
    whole = path.read_bytes()
    weights = {"w": torch.nn.Parameter(torch.ones(3, 5))}
    for place in [*draw.sample(range(len(whole)), 200), len(whole) - 1]:
        content = bytearray(whole)
        content[place] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        with pytest.raises(WagleError, match="is broken"):
            resume.take_up(
                tmp_path, "me", weights, optimizers.optimizer("fp32", weights, None, 0.0)
            )


def test_saving_waits_its_pause_and_takes_a_twentieth_of_the_time_at_most(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(resume.time, "monotonic", lambda: now[0])
    monkeypatch.setenv("WAGLE_RESUME_SECONDS", "30")
    clock = resume.Clock()

    def due_after(seconds):
        start = now[0]
        now[0] = start + seconds - 0.5
        early = clock.due()
        now[0] = start + seconds + 0.5
        return not early and clock.due()

    assert due_after(30)
    with clock.saving():
        now[0] += 10
    assert due_after(200)
    monkeypatch.setenv("WAGLE_RESUME_SECONDS", "soon")
    with pytest.raises(WagleError, match="'soon'"):
        resume.Clock()
    assert resume.Clock(5).pause == 5
