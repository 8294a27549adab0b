"""Several processes with one sharded model: the same run as one process, up to the order of sums.

An error in one process becomes the job's.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import TEMPLATE
from hypothesis import given
from hypothesis import strategies as st

from wagle.attribution import masks, topk
from wagle.data.batching import batches_by_process, by_length
from wagle.errors import WagleError
from wagle.model import checkpoints, tensors
from wagle.runtime import identity
from wagle.training import launch
from wagle.training.entry import finetune_files, unlearn_files

TRAINING = {
    "lr": 1e-3,
    "weight_decay": 0.1,
    "epochs": 1,
    "batch_size": 3,
    "warmup": 0.1,
    "token_budget": 100,
    "seed": 1,
}
ENCODING = {"template": TEMPLATE, "max_length": 128}


@given(st.lists(st.integers(1, 50), max_size=20), st.integers(1, 120), st.integers(1, 5))
def test_batches_by_process_hold_every_row_once_and_are_equally_many(lengths, budget, processes):
    by_process = batches_by_process(lengths, budget, processes)
    assert len(by_process) == processes and len({len(batches) for batches in by_process}) == 1
    assert sorted(i for batches in by_process for batch in batches for i in batch) == list(
        range(len(lengths))
    )
    for batches in by_process:
        for batch in batches:
            assert len(batch) <= 1 or len(batch) * max(lengths[i] for i in batch) <= budget
    assert batches_by_process(lengths, budget, 1) == [by_length(lengths, budget)]


@pytest.fixture
def job(checkpoint, rows, tmp_path):
    """Keyword arguments of an NPO cell with a mask over half of the weights."""
    files = {role: tmp_path / f"{role}.jsonl" for role in ("forget", "retain")}
    for role, path in files.items():
        path.write_text("".join(json.dumps(row) + "\n" for row in rows[role]))
    shapes = tensors.parameter_shapes(checkpoint)
    generator = torch.Generator().manual_seed(0)
    scores = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    k = topk.budget(0.5, sum(map(torch.Tensor.numel, scores.values())))
    limits = topk.thresholds(scores.items, [k])
    header = {"selection": "random", "ratio": "0.5", "gamma": None, "k": k, "ties": "flat-index"}
    masks.save([tmp_path / "mask"], shapes, topk.packed(scores.items, limits), [header])
    return {
        "target": str(checkpoint),
        "forget": str(files["forget"]),
        "retain": str(files["retain"]),
        "mask": str(tmp_path / "mask"),
        "objective": "wagle.objectives.npo",
        "objective_options": {},
        "training": TRAINING,
        "encoding": ENCODING,
        "least_moved": 0.01,
        "resume": str(tmp_path / "resume"),
        "identity": "me",
    }


def outputs(folder):
    return {name: str(folder / name) for name in ("checkpoint", "log", "moved")}


def outcome(job, folder, processes):
    """(log lines, weights, moved.json) of the cell."""
    folder.mkdir()
    out = outputs(folder)
    launch.run(unlearn_files, job | out, processes)
    weights = dict(tensors.stream(out["checkpoint"], tensors.parameter_shapes(out["checkpoint"])))
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    return lines, weights, json.loads((folder / "moved").read_text())


@pytest.mark.parametrize(("processes", "precision"), [(3, "fp32"), (2, "bf16-kahan")])
def test_sharded_is_one_process_up_to_rounding(job, tmp_path, processes, precision):
    """Steps of 3 + 3 rows, the last of fewer rows than there are passes.

    Some process then has nothing to pass.
    """
    changes = {"precision": precision, "activation_checkpointing": precision != "fp32"}
    job = job | {"training": TRAINING | changes}
    one, many = outcome(job, tmp_path / "one", 1), outcome(job, tmp_path / "many", processes)
    near = {"rel": 1e-5, "abs": 1e-6} if precision == "fp32" else {"rel": 2e-2, "abs": 2e-2}
    assert len(one[0]) == len(many[0]) > 2
    for a, b in zip(one[0], many[0], strict=True):
        assert b == pytest.approx(a, **near)
    gap = max(float((one[1][name].float() - many[1][name].float()).abs().max()) for name in one[1])
    assert gap < (1e-5 if precision == "fp32" else 2e-2)
    assert (
        many[2]["frozen_moved"] == 0
        and many[2]["selected"] == one[2]["selected"]
        and many[2]["share_moved"] > 0.5
    )


def unlearn_several(jobs):
    """Several cells in one group of processes, whose start takes longer than a cell."""
    for each in jobs:
        unlearn_files(**each)


ASKING = {  # for logits of two models and both labels, hidden states, a second pass, a state
    "undial": {},
    "dpo": {},
    "rmu": {"layer": 0, "alpha": 2.0},
    "npo_sam": {"rho": 0.1},
    "pdu": {"eps": 1.0, "multiplier": 2.0, "warmup_epochs": 0},
}


def test_objectives_that_ask_for_more_are_sharded_as_well(job, tmp_path):
    refusals = tmp_path / "refusals.jsonl"
    refusals.write_text("".join(json.dumps({"text": f"I cannot say {i}."}) + "\n" for i in "ab"))
    for processes in (1, 2):
        jobs = []
        for name, options in ASKING.items():
            folder = tmp_path / f"{name}-{processes}"
            folder.mkdir()
            changes = {"objective": f"wagle.objectives.{name}", "objective_options": options}
            jobs.append(job | changes | {"refusals": str(refusals)} | outputs(folder))
        launch.run(unlearn_several, {"jobs": jobs}, processes)
    for name in ASKING:
        one, many = (tmp_path / f"{name}-{processes}" for processes in (1, 2))
        lines = [
            [json.loads(line) for line in (folder / "log").read_text().splitlines()]
            for folder in (one, many)
        ]
        assert len(lines[0]) == len(lines[1]) > 2
        for a, b in zip(*lines, strict=True):
            assert b == pytest.approx(a, rel=1e-4, abs=1e-6), name
        weights = [checkpoints.load(folder / "checkpoint").state_dict() for folder in (one, many)]
        torch.testing.assert_close(*weights, rtol=0, atol=2e-5)
        moved = [json.loads((folder / "moved").read_text()) for folder in (one, many)]
        assert moved[1]["frozen_moved"] == 0 and moved[1]["selected"] == moved[0]["selected"]


def test_fine_tuning_sharded_is_one_process_up_to_rounding(job, tmp_path):
    changes = {"batch_size": 4, "weight_decay": 0.0, "token_budget": 200, "seed": 0}
    finetune_job = {
        "base": job["target"],
        "rows": [job["forget"], job["retain"]],
        "training": TRAINING | changes,
        "encoding": ENCODING,
        "resume": job["resume"],
        "identity": "me",
    }
    states = []
    for processes in (1, 2):
        launch.run(
            finetune_files,
            finetune_job | {"out": str(tmp_path / str(processes))},
            processes,
        )
        states.append(checkpoints.load(tmp_path / str(processes)).state_dict())
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=1e-5)


def test_the_processes_end_with_the_job_that_started_them(job, tmp_path):
    """After SIGKILL to the job its processes must neither hold a GPU nor write later.

    They have sessions of their own, which the signal does not reach.
    """
    (tmp_path / "waits.py").write_text(
        "import os, pathlib, time\nFORGET_LABELS, NEEDS = 'answer', ()\n\n\n"
        "def loss(forget, retain):\n"
        "    pathlib.Path(f'{os.getpid()}.pid').touch()\n    time.sleep(100)\n"
    )
    waiting_job = job | outputs(tmp_path) | {"objective": "waits"}
    code = (
        "from wagle.training import entry, launch\n"
        f"launch.run(entry.unlearn_files, {waiting_job!r}, 2)"
    )
    env = os.environ | {"PYTHONPATH": f"{identity.ROOT}{os.pathsep}{tmp_path}"}
    started = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while len(pid_files := list(tmp_path.glob("*.pid"))) < 2:
        assert time.monotonic() < deadline and started.poll() is None
        time.sleep(0.1)
    started.kill()
    started.wait()
    deadline = time.monotonic() + 20
    while alive := [
        pid for pid in (path.stem for path in pid_files) if Path(f"/proc/{pid}").exists()
    ]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.1)


def test_an_error_in_one_process_is_the_jobs_error(job, tmp_path):
    with pytest.raises(WagleError, match="objective module 'nowhere' cannot be imported"):
        outcome(job | {"objective": "nowhere"}, tmp_path / "out", 2)
