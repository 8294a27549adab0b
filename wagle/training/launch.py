"""A training job in several processes of one machine, one a device, that end with the job.

`run` calls a function here, or starts torchrun, whose processes call it with the same JSON arguments. A fault in one ends all
at once, and its message becomes the job's. Left out: several nodes.
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

PARENT = "WAGLE_PARENT"  # environment: id of the process that started this one


def run(function: Callable, job: dict, processes: int) -> None:
    """function(**job) here, or in `processes` processes that form one group; everything in `job` is plain JSON then.

    `function` must be importable by name. Raises WagleError with the message of one that stopped.
    """
    if processes <= 1:
        function(**job)
        return
    with tempfile.TemporaryDirectory() as folder:
        said, reason = Path(folder) / "job.json", Path(folder) / "error.txt"
        said.write_text(json.dumps(job), encoding="utf-8")
        name = f"{function.__module__}:{function.__qualname__}"
        command = [
            sys.executable,
            "-m",
            "wagle.training.launch",
            "launch",
            str(processes),
            name,
            str(said),
            str(reason),
        ]
        env = os.environ | {
            "OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // processes)),
            "PYTHONPATH": os.pathsep.join(
                filter(None, sys.path)
            ),  # a user's module is found wherever the script finds it
            PARENT: str(os.getpid()),
        }
        if subprocess.run(command, env=env, check=False).returncode:
            text = (
                reason.read_text(encoding="utf-8")
                if reason.exists()
                else f"one of {processes} training processes ended"
            )
            raise WagleError(text, do="" if reason.exists() else "see the job's log")


def _end_with_parent() -> None:
    """Be killed when the process that started this one ends, whatever ended it: nobody waits for the result any more.

    torchrun gives its processes sessions of their own, which a signal to the job does not reach. Linux only.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl:
        prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != int(os.environ[PARENT]):
            os._exit(1)


def _launch(processes: str, *arguments: str) -> None:
    """torchrun, in a process that ends with the job."""
    from torch.distributed.run import main

    _end_with_parent()
    os.environ[PARENT] = str(os.getpid())
    local = ["--standalone", "--local-addr=localhost", f"--nproc-per-node={processes}"]
    main([*local, "-m", "wagle.training.launch", "process", *arguments])


def _process(name: str, said: str, reason: str) -> None:
    """One of the processes that `_launch` starts."""
    from wagle.runtime.job import be_deterministic

    _end_with_parent()
    be_deterministic()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # the others wait in a collective while the first loads or saves a whole model
    torch.distributed.init_process_group(
        "nccl" if torch.cuda.is_available() else "gloo", timeout=timedelta(hours=2)
    )
    module, _, function = name.partition(":")
    try:
        getattr(importlib.import_module(module), function)(
            **json.loads(Path(said).read_text(encoding="utf-8"))
        )
    except BaseException as error:
        if isinstance(error, WagleError):
            with contextlib.suppress(FileExistsError), open(reason, "x", encoding="utf-8") as file:
                file.write(str(error))
        else:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # to leave the group in order would be to wait for those that wait for this one
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    {"launch": _launch, "process": _process}[sys.argv[1]](*sys.argv[2:])
