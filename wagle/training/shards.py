"""One model trained by several processes, one per device, with torch's fully_shard (FSDP2).

fully_shard splits every parameter into as many parts as there are processes. Each process passes
its share of a step's rows through the model, whose blocks are gathered one at a time. Gradients are
summed, and each process updates its own parts, with its parts of masks and moments. The memory of a
weight is therefore divided by the number of devices, and a step computes what one device would, up
to the order of sums.

Notable: accelerate's FSDP makes this same call, but without accelerators it falls back to copies of
the model. It is therefore not used, and tests shard over processes on a CPU.

Left out: resume state, LoRA, several nodes, attribution and evaluation (docs/scaling.md says what
fits one device).
"""

import copy
from collections.abc import Sequence
from pathlib import Path

import torch

from wagle.data.batching import batches_by_process
from wagle.model import checkpoints
from wagle.model.checkpointing import blocks


def _process_group():
    """torch.distributed where this process is one of a group, else None."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed
    return None


class Shards:
    """This process's part of `model`'s trainable parameters: all, where the model is not sharded.

    parameters: plain tensors by name that share memory with the model's parameters. Their `grad` is
        there after collect_gradients().
    rank, world_size: number of this process, from 0, and number of processes.
    """

    def __init__(self, model):
        self.model_parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.parameters, self.mesh, self.rank, self.world_size = self.model_parameters, None, 0, 1
        if _process_group():
            self.mesh = next(iter(self.model_parameters.values())).device_mesh
            self.rank, self.world_size = self.mesh.get_local_rank(), self.mesh.size()
            self.parameters = {n: p.detach().to_local() for n, p in self.model_parameters.items()}

    def local_masks(self, masks: dict[str, torch.Tensor] | None) -> dict[str, torch.Tensor] | None:
        """This process's parts of whole `masks`, by parameter name."""
        if masks is None or self.mesh is None:
            return masks
        from torch.distributed.tensor import distribute_tensor

        device = self.mesh.device_type
        return {
            name: distribute_tensor(
                masks[name].to(device), self.mesh, parameter.placements, src_data_rank=None
            ).to_local()
            for name, parameter in self.model_parameters.items()
        }

    def collect_gradients(self) -> None:
        """Hand the gradients of a step's backward passes over to `parameters`."""
        if self.mesh is None:
            return
        for name, parameter in self.model_parameters.items():
            gradient, parameter.grad = parameter.grad, None
            self.parameters[name].grad = None if gradient is None else gradient.to_local()

    def gradient_norm(self) -> torch.Tensor:
        """L2 norm of all gradients of the whole model, a scalar tensor."""
        local_norm = torch.nn.utils.get_total_norm(
            [p.grad for p in self.parameters.values() if p.grad is not None]
        )
        if self.mesh is None:
            return local_norm
        return self.sum_over_processes(local_norm**2).sqrt()

    def sum_over_processes(self, value: torch.Tensor) -> torch.Tensor:
        """The sum of the processes' `value`, of its shape and on its device."""
        if self.mesh is None:
            return value
        total = value.to(self.mesh.device_type)
        torch.distributed.all_reduce(total, group=self.mesh.get_group())
        return total.to(value.device)

    def local_batches(self, lengths: Sequence[int], token_budget: int) -> list[list[int]]:
        """This process's batches of the rows with these lengths (in tokens), as row indices.

        Each process gets equally many; one without rows left gets empty batches.
        """
        return batches_by_process(lengths, token_budget, self.world_size)[self.rank]


def load(path: str | Path, precision: str = "fp32"):
    """The model of checkpoint `path`; in a group of processes, sharded over them.

    The processes read it one after the other to spare host memory. Raises WagleError as
    checkpoints.load() does.
    """
    group = _process_group()
    if group is None:
        return checkpoints.load(path, precision)
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = torch.distributed.init_device_mesh(checkpoints.device().type, (group.get_world_size(),))
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    for rank in range(group.get_world_size()):
        if rank == group.get_rank():
            model = checkpoints.load(path, precision, torch.device("cpu"))
            for module in (*blocks(model), model):
                fully_shard(module, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
        group.barrier()
    return model


def again(model, path: str | Path, precision: str = "fp32"):
    """A second `model`, with weights of its own. `path` and `precision` are as in gather().

    A sharded model is read from `path` again, for shards cannot be copied.
    """
    return copy.deepcopy(model) if _process_group() is None else load(path, precision)


@torch.no_grad()
def gather(model, path: str | Path, precision: str = "fp32"):
    """The whole model on the CPU of the first process, None in the others.

    A model that is not sharded comes back as it is. `path` and `precision` are those it was loaded
    with.
    """
    group = _process_group()
    if group is None:
        return model
    whole = None
    if group.get_rank() == 0:
        whole = checkpoints.load(path, precision, torch.device("cpu"))
    parameters = dict(whole.named_parameters()) if whole is not None else {}
    for name, shard in model.named_parameters():
        tensor = shard.full_tensor()
        if whole is not None:
            parameters[name].copy_(tensor)
    return whole
