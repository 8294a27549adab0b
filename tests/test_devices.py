"""Jobs of a local run reserve a device each, and a killed job's device is free at once."""

import os
import subprocess
import sys
import time

import pytest

from wagle.errors import WagleError
from wagle.runtime import devices
from wagle.runtime.identity import ROOT

JOB = """
import os, sys, time
from wagle.runtime import devices
with devices.reserve(int(sys.argv[1]), pause=0.05):
    print(os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
    time.sleep(60)
"""


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Start a process that reserves devices until it is killed; `seen(process)` names them."""
    started = []

    def start(count=1, **env):
        base = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", JOB, str(count)],
                env=base | env,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def seen(process):
    return process.stdout.readline().strip()


def test_each_job_has_a_device_and_a_killed_one_frees_it(job):
    first, second = job(WAGLE_DEVICES="0,1"), job(WAGLE_DEVICES="0,1")
    reserved = {seen(first), seen(second)}
    assert reserved == {"0", "1"}
    third = job(WAGLE_DEVICES="0,1")
    time.sleep(0.5)
    assert third.poll() is None
    started = time.monotonic()
    second.kill()
    second.wait()
    assert seen(third) in reserved and time.monotonic() - started < 10


def test_the_users_choice_of_devices_is_chosen_from(job):
    first, second = job(CUDA_VISIBLE_DEVICES="2,5"), job(CUDA_VISIBLE_DEVICES="2,5")
    assert {seen(first), seen(second)} == {"2", "5"}


def test_all_visible_devices_are_locked_too_and_shown(job):
    one = job(2, WAGLE_DEVICES="2,3")
    assert seen(one) == "2,3"
    late = job(2, WAGLE_DEVICES="2,3")
    time.sleep(0.5)
    assert late.poll() is None
    one.kill()
    one.wait()
    assert seen(late) == "2,3"


def test_several_devices_are_reserved_together_or_not_at_all(job):
    one = job(WAGLE_DEVICES="a,b,c")
    assert seen(one) == "a"
    two = job(2, WAGLE_DEVICES="a,b,c")
    assert seen(two) == "b,c"
    late = job(2, WAGLE_DEVICES="a,b,c")
    one.kill()
    one.wait()
    last = job(WAGLE_DEVICES="a,b,c")  # `late` has no claim on the one that is free
    assert seen(last) == "a" and late.poll() is None


@pytest.mark.parametrize(
    "env",
    [
        {"CUDA_VISIBLE_DEVICES": "3", "SLURM_JOB_ID": "1"},
        {"SLURM_JOB_ID": "1"},
        {"CUDA_VISIBLE_DEVICES": ""},
    ],
)
def test_a_schedulers_choice_stands(job, env):
    assert seen(job(**env)) == str(env.get("CUDA_VISIBLE_DEVICES"))
    assert seen(job(**env)) == str(env.get("CUDA_VISIBLE_DEVICES"))


def test_a_job_without_gpus_sees_none(monkeypatch):
    monkeypatch.setenv("WAGLE_DEVICES", "0,1")
    for before in (None, "0,1"):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if before:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
        with devices.reserve(0):
            assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == before


def test_more_than_there_are_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("WAGLE_DEVICES", "0,1")
    with pytest.raises(WagleError, match="asks for 3 GPUs, 2 at hand"), devices.reserve(3):
        pass


@pytest.mark.parametrize(
    ("cuda", "driver", "remedy"),
    [
        ("13.0", None, "load the NVIDIA driver"),
        (None, "580.65.06", "install a torch wheel for CUDA"),
        ("13.0", "535.104.05", "update the driver to 580 or later, or install a torch wheel for"),
        ("12.8", "535.104.05", "see what nvidia-smi says"),
    ],
)
def test_a_gpu_that_torch_cannot_use_stops_the_job(cuda, driver, remedy, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", cuda)
    monkeypatch.setattr(devices, "DRIVER_FILE", tmp_path / "version")
    if driver:
        line = f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {driver}  Sat Aug 19 2023"
        (tmp_path / "version").write_text(line)
    with pytest.raises(WagleError, match=remedy) as error:
        devices.check_usable(1)
    assert (driver or "none loaded") in str(error.value)
    assert (f"CUDA {cuda}" if cuda else "the CPU alone") in str(error.value)


def test_fewer_usable_gpus_than_asked_for_stop_the_job(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    devices.check_usable(1)
    with pytest.raises(WagleError, match="asks for 2 GPUs, torch can use 1"):
        devices.check_usable(2)


def test_placeholders_are_not_checked_and_a_job_without_gpus_neither(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    devices.check_usable(0)
    monkeypatch.setenv("WAGLE_PLACEHOLDER_GPUS", "1")
    devices.check_usable(1)
