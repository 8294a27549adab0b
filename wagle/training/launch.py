"""A training job in several processes of one machine, one per device, that end with the job.

`run` calls a function in this process, or starts torchrun, whose processes call it with the same
JSON arguments. An error in one process ends all at once, and its message becomes the job's.

Left out: several nodes.
"""

import contextlib
import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch

from wagle.errors import WagleError

PARENT = "WAGLE_PARENT"  # environment variable: id of the process that started this one
PR_SET_PDEATHSIG = 1  # from linux/prctl.h
COLLECTIVE_TIMEOUT = timedelta(hours=2)


def run(function: Callable, job: dict, processes: int) -> None:
    """Call function(**job) in this process, or in `processes` processes that form one group.

    With several processes `job` must be plain JSON and `function` importable by name.

    Raises WagleError with the message of a process that stopped.
    """
    if processes <= 1:
        function(**job)
        return
    with tempfile.TemporaryDirectory() as folder:
        job_file, error_file = Path(folder) / "job.json", Path(folder) / "error.txt"
        job_file.write_text(json.dumps(job), encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "wagle.training.launch",
            "launch",
            str(processes),
            f"{function.__module__}:{function.__qualname__}",
            str(job_file),
            str(error_file),
        ]
        env = os.environ | {
            "OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // processes)),
            # a user's module is importable wherever this process can import it
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            PARENT: str(os.getpid()),
        }
        if torch.cuda.device_count() < processes:  # they share the CPU, as in the tests
            env["CUDA_VISIBLE_DEVICES"] = ""
        if subprocess.run(command, env=env, check=False).returncode:
            if error_file.exists():
                raise WagleError(error_file.read_text(encoding="utf-8"))
            raise WagleError(f"one of {processes} training processes ended", do="see the job's log")


def _end_with_parent() -> None:
    """Let the kernel kill this process when the one that started it ends, for whatever reason.

    Nobody waits for the result any more by then. torchrun gives its processes sessions of their
    own, which a signal to the job does not reach. Linux only.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(os.environ[PARENT]):
            os._exit(1)


def _launch(processes: str, *arguments: str) -> None:
    """Run torchrun in this process, which ends with the job."""
    from torch.distributed.run import main

    _end_with_parent()
    os.environ[PARENT] = str(os.getpid())
    local = ["--standalone", "--local-addr=localhost", f"--nproc-per-node={processes}"]
    main([*local, "-m", "wagle.training.launch", "process", *arguments])


def _process(function_name: str, job_file: str, error_file: str) -> None:
    """Do the job's work in one of the processes that `_launch` starts."""
    from wagle.runtime.job import be_deterministic

    _end_with_parent()
    be_deterministic()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # The other processes wait in a collective while the first loads or saves a whole model.
    torch.distributed.init_process_group(
        "nccl" if torch.cuda.is_available() else "gloo", timeout=COLLECTIVE_TIMEOUT
    )
    module, _, function = function_name.partition(":")
    try:
        getattr(importlib.import_module(module), function)(
            **json.loads(Path(job_file).read_text(encoding="utf-8"))
        )
    except BaseException as error:
        if isinstance(error, WagleError):
            with (
                contextlib.suppress(FileExistsError),
                open(error_file, "x", encoding="utf-8") as file,
            ):
                file.write(str(error))
        else:
            traceback.print_exc()
        sys.stderr.flush()
        # Leaving the group in order would mean waiting for processes that wait for this one.
        os._exit(1)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    {"launch": _launch, "process": _process}[sys.argv[1]](*sys.argv[2:])
