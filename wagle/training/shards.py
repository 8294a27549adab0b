"""One model trained by several processes, one a device: torch's fully_shard (FSDP2) cuts every parameter into as many parts.

Each process passes its share of a step's rows through the model, whose blocks are made whole one at a time; gradients are added
up, and each process updates its own parts, with its parts of masks and moments. So what a weight costs is divided by the number
of devices, and a step computes what one device would, up to the order of sums.

Notable: accelerate's FSDP makes this same call, but on a machine without accelerators it falls back to copies of the model; so it
is left aside, and tests shard over processes on a CPU. Left out: resume state, LoRA, several nodes, attribution and evaluation
(docs/scaling.md says what fits one device).
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from wagle.data.batching import shares
from wagle.model import checkpoints
from wagle.model.checkpointing import blocks


def _group():
    """torch.distributed where this process is one of a group, else None."""
    return (
        torch.distributed
        if torch.distributed.is_available() and torch.distributed.is_initialized()
        else None
    )


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
            name: distribute_tensor(
                masks[name].to(where), self.mesh, p.placements, src_data_rank=None
            ).to_local()
            for name, p in self.own.items()
        }

    def collect(self) -> None:
        """After a step's backward passes: hand the gradients over to `parameters`."""
        if self.mesh is not None:
            for name, p in self.own.items():
                self.parameters[name].grad, p.grad = (
                    None if p.grad is None else p.grad.to_local(),
                    None,
                )

    def norm(self) -> torch.Tensor:
        """L2 norm of all gradients."""
        own = torch.nn.utils.get_total_norm(
            [p.grad for p in self.parameters.values() if p.grad is not None]
        )
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
        return checkpoints.load(path, precision)
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = torch.distributed.init_device_mesh(checkpoints.device().type, (group.get_world_size(),))
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    for turn in range(group.get_world_size()):
        if turn == group.get_rank():
            model = checkpoints.load(path, precision, torch.device("cpu"))
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
    plain = (
        checkpoints.load(path, precision, torch.device("cpu")) if group.get_rank() == 0 else None
    )
    target = dict(plain.named_parameters()) if plain is not None else {}
    for name, p in model.named_parameters():
        whole = p.full_tensor()
        if plain is not None:
            target[name].copy_(whole)
    return plain
