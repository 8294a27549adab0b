"""One model trained by several processes, one a device: torch's fully_shard (FSDP2) cuts every parameter into as many parts.

Each process passes its share of a step's rows through the model, whose blocks are made whole one at a time; gradients are added
up, and each process updates its own parts, with its parts of masks and moments. So what a weight costs is divided by the number
of devices, and a step computes what one device would, up to the order of sums.

Notable: accelerate's FSDP makes this same call, but on a machine without accelerators it falls back to copies of the model; so it
is left aside, and tests shard over processes on a CPU. Left out: resume state, LoRA, several nodes, attribution and evaluation
(docs/scaling.md says what fits one device).
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
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import torch

from wagle import models
from wagle.batching import shares
from wagle.checkpointing import blocks
from wagle.errors import WagleError

PARENT = "WAGLE_PARENT"  # environment: id of the process that started this one


def _group():
    """torch.distributed where this process is one of a group, else None."""
    return torch.distributed if torch.distributed.is_available() and torch.distributed.is_initialized() else None


class Shards:
    """What this process holds of `model`'s trainable parameters: its parts, or all where the model is not sharded.

    `parameters` are plain tensors by name, which share memory with the model's; their `grad` is there after `collect()`.
    """

    def __init__(self, model):
        self.own = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.parameters, self.mesh, self.rank, self.world = self.own, None, 0, 1
        if _group():
            self.mesh = next(iter(self.own.values())).device_mesh
            self.rank, self.world = self.mesh.get_local_rank(), self.mesh.size()
            self.parameters = {name: p.detach().to_local() for name, p in self.own.items()}

    def cut(self, masks: dict | None) -> dict | None:
        """This process's parts of `masks` (name -> bool, whole)."""
        if masks is None or self.mesh is None:
            return masks
        from torch.distributed.tensor import distribute_tensor

        where = self.mesh.device_type
        return {
            name: distribute_tensor(masks[name].to(where), self.mesh, p.placements, src_data_rank=None).to_local()
            for name, p in self.own.items()
        }

    def collect(self) -> None:
        """After a step's backward passes: hand the gradients over to `parameters`."""
        if self.mesh is not None:
            for name, p in self.own.items():
                self.parameters[name].grad, p.grad = None if p.grad is None else p.grad.to_local(), None

    def norm(self) -> torch.Tensor:
        """L2 norm of all gradients."""
        own = torch.nn.utils.get_total_norm([p.grad for p in self.parameters.values() if p.grad is not None])
        return own if self.mesh is None else self.total(own**2).sqrt()

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """The sum of `value` over the processes."""
        if self.mesh is None:
            return value
        moved = value.to(self.mesh.device_type)
        torch.distributed.all_reduce(moved, group=self.mesh.get_group())
        return moved.to(value.device)

    def batches(self, lengths: Sequence[int], token_budget: int) -> list[list[int]]:
        """This process's batches of the rows with these lengths."""
        return shares(lengths, token_budget, self.world)[self.rank]


def load(path: str | Path, precision: str = "fp32"):
    """models.load; in a group of processes, the model sharded over them, read by one after the other to spare memory."""
    group = _group()
    if group is None:
        return models.load(path, precision)
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = torch.distributed.init_device_mesh(models.device().type, (group.get_world_size(),))
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    for turn in range(group.get_world_size()):
        if turn == group.get_rank():
            model = models.load(path, precision, torch.device("cpu"))
            for module in (*blocks(model), model):
                fully_shard(module, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
        group.barrier()
    return model


@torch.no_grad()
def gather(model, path: str | Path, precision: str = "fp32"):
    """`model` whole again, on the CPU of the first process and None in the others; `path` is what it was loaded from."""
    group = _group()
    if group is None:
        return model
    plain = models.load(path, precision, torch.device("cpu")) if group.get_rank() == 0 else None
    target = dict(plain.named_parameters()) if plain is not None else {}
    for name, p in model.named_parameters():
        whole = p.full_tensor()
        if plain is not None:
            target[name].copy_(whole)
    return plain


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
        command = [sys.executable, "-m", "wagle.sharding", "launch", str(processes), name, str(said), str(reason)]
        env = os.environ | {
            "OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // processes)),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),  # a user's module is found wherever the script finds it
            PARENT: str(os.getpid()),
        }
        if subprocess.run(command, env=env, check=False).returncode:
            text = reason.read_text(encoding="utf-8") if reason.exists() else f"one of {processes} training processes ended"
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
    main([*local, "-m", "wagle.sharding", "process", *arguments])


def _process(name: str, said: str, reason: str) -> None:
    """One of the processes that `_launch` starts."""
    from wagle.provenance import be_deterministic

    _end_with_parent()
    be_deterministic()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # the others wait in a collective while the first loads or saves a whole model
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=timedelta(hours=2))
    module, _, function = name.partition(":")
    try:
        getattr(importlib.import_module(module), function)(**json.loads(Path(said).read_text(encoding="utf-8")))
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
