"""Gradients of the answer loss, summed over rows in fp32.

Both losses use one accumulator: the sum over rows of the gradient of each row's mean-token
cross-entropy. Neither the batches nor their order matter then. `mean` divides by the number of rows
at the end; gamma has no meaning without saying which of the two it is for.

`in_bf16` reproduces the official code instead: one row at a time, each gradient rounded to bf16
and added to a sum in bf16. The order of the rows then matters, and small gradients are lost.

Notable: each parameter's gradient is moved into its accumulator the moment it is complete, so no
second full set of gradients exists.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from wagle.data.batching import by_length
from wagle.data.prompts import Encoded
from wagle.errors import WagleError
from wagle.model.checkpointing import checkpointed
from wagle.model.losses import answer_loss


class Gradients(NamedTuple):
    """Gradients by parameter name, of the parameters' shapes, and the rows' mean loss in nats."""

    by_name: dict[str, torch.Tensor]
    loss: float


@contextlib.contextmanager
def taking_gradients(model, take: Callable[[str, torch.Tensor], None]) -> Iterator[None]:
    """Inside the `with` block `take(name, gradient)` gets each parameter's gradient, and `grad`
    stays empty.

    A tied parameter is complete once, so its gradient is the whole one.
    """

    def make_hook(name):
        def hand_over(parameter):
            take(name, parameter.grad)
            parameter.grad = None

        return hand_over

    handles = [
        parameter.register_post_accumulate_grad_hook(make_hook(name))
        for name, parameter in model.named_parameters()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def moving_gradients_into(
    accumulators: dict[str, torch.Tensor], model
) -> contextlib.AbstractContextManager[None]:
    """Inside the `with` block a backward pass adds to `accumulators` instead of to `grad`."""

    def add(name: str, gradient: torch.Tensor) -> None:
        total = accumulators[name]
        # a bf16 sum takes bf16 gradients; an fp32 one takes any without a copy
        total.add_(gradient.bfloat16() if total.dtype == torch.bfloat16 else gradient)

    return taking_gradients(model, add)


def accumulate(
    model,
    rows: list[Encoded],
    pad_id: int,
    token_budget: int,
    reduction: str = "sum",
    *,
    scale: float = 1.0,
    in_bf16: bool = False,
    activation_checkpointing: bool = False,
) -> Gradients:
    """The gradient of the answer loss over `rows`, in fp32 (fp64 for an fp64 model).

    token_budget: upper limit of a forward pass, in tokens with padding.
    reduction: `sum` or `mean` over the rows.
    scale: factor of each row's loss.
    in_bf16: sum in bf16, one row at a time in their order, and return bf16.

    Raises WagleError when there are no rows, or a gradient is not finite, naming the parameter.
    """
    if not rows:
        raise WagleError("no rows to take gradients of")
    if reduction not in ("sum", "mean"):
        raise WagleError(f"reduction {reduction!r}", "'sum' or 'mean'")
    sums = {
        n: torch.zeros_like(
            p, dtype=torch.bfloat16 if in_bf16 else torch.promote_types(p.dtype, torch.float32)
        )
        for n, p in model.named_parameters()
    }
    batches = by_length([len(row) for row in rows], token_budget)
    if in_bf16:
        batches = [[i] for i in range(len(rows))]
    losses = []  # read once, for each reading waits for the GPU
    with moving_gradients_into(sums, model), checkpointed(model, activation_checkpointing):
        for batch in batches:
            loss = answer_loss(model, [rows[i] for i in batch], pad_id).mean.sum()
            (loss * scale).backward()
            losses.append(loss.detach())
    finite = torch.stack([torch.isfinite(gradient).all() for gradient in sums.values()]).tolist()
    if not all(finite):
        name = next(name for name, is_finite in zip(sums, finite, strict=True) if not is_finite)
        raise WagleError(
            f"the gradient of {name} has NaN or Inf",
            do="check the model's precision and the data rows",
        )
    if reduction == "mean":
        for gradient in sums.values():
            gradient /= len(rows)
    return Gradients(sums, sum(torch.stack(losses).double().tolist()) / len(rows))
