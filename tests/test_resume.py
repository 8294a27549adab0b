"""The state of a stopped run is loaded whole, refused if a bit changed, ignored if another's."""

import random
import weakref

import pytest
import torch

from wagle.errors import WagleError
from wagle.training import optimizers, resume
from wagle.training.resume import Progress, ResumeFolder, load_state, save_state


def optimizer(policy="fp32"):
    dtype = torch.float32 if policy == "fp32" else torch.bfloat16
    weights = {"w": torch.nn.Parameter(torch.ones(3, 5, dtype=dtype))}
    made = optimizers.make_optimizer(policy, weights, None, optimizers.Decay(0.0))
    made.parameters["w"].grad = torch.full((3, 5), 0.5, dtype=dtype)
    return made


@pytest.mark.parametrize("policy", optimizers.POLICIES)
def test_round_trip(tmp_path, policy):
    first, second = optimizer(policy), optimizer(policy)
    first.step(0.1)
    save_state(ResumeFolder(tmp_path, "me"), Progress(1, ["{}\n"], {"multiplier": 0.1}), first)
    assert load_state(ResumeFolder(tmp_path, "other"), second) == (0, [], {})
    assert load_state(ResumeFolder(tmp_path, "me"), second) == (1, ["{}\n"], {"multiplier": 0.1})
    assert torch.equal(first.parameters["w"], second.parameters["w"])
    assert all(
        torch.equal(value, second.parameter_state("w")[key])
        for key, value in first.parameter_state("w").items()
    )
    assert (
        load_state(None, second)
        == load_state(ResumeFolder(tmp_path / "none", "me"), second)
        == (0, [], {})
    )


def test_a_state_is_written_one_tensor_at_a_time(tmp_path, monkeypatch):
    """Each tensor is copied to the host when its turn comes, and its copy is gone at the next."""
    copies, alive = [], []
    to_host = torch.Tensor.cpu

    def counted(tensor):
        copy = to_host(tensor).clone()
        alive.append(sum(reference() is not None for reference in copies))
        copies.append(weakref.ref(copy))
        return copy

    first = optimizer()
    first.step(0.1)
    monkeypatch.setattr(torch.Tensor, "cpu", counted)
    save_state(ResumeFolder(tmp_path, "me"), Progress(1, [], {}), first)
    assert len(copies) == 6 and max(alive) <= 1  # weights and two moments, hashed and written


def test_any_changed_bit_is_refused(tmp_path):
    first, rng = optimizer(), random.Random(0)
    first.step(0.1)
    save_state(ResumeFolder(tmp_path, "me"), Progress(1, ["{}\n"], {"multiplier": 0.1}), first)
    path = tmp_path / resume.STATE_FILE
    whole = path.read_bytes()
    weights = {"w": torch.nn.Parameter(torch.ones(3, 5))}
    for place in [*rng.sample(range(len(whole)), 200), len(whole) - 1]:
        content = bytearray(whole)
        content[place] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        with pytest.raises(WagleError, match="is broken"):
            load_state(
                ResumeFolder(tmp_path, "me"),
                optimizers.make_optimizer("fp32", weights, None, optimizers.Decay(0.0)),
            )


def test_saving_waits_its_interval_and_takes_a_twentieth_of_the_time_at_most(monkeypatch):
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
    clock = resume.Clock(30, size=81_000_000_000)  # 7B weights in fp32 and both moments
    assert due_after(20 * 162)
    monkeypatch.setenv("WAGLE_RESUME_SECONDS", "soon")
    with pytest.raises(WagleError, match="'soon'"):
        resume.Clock()
    assert resume.Clock(5).interval == 5
