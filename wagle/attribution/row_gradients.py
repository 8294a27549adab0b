"""Means and mean squares of the gradients of single rows, from one backward pass for each row.

The square of a batch's gradient is another quantity: its mean is the squared mean gradient plus the
rows' variance over the batch size. So no two rows share a pass here.

Notable: only the two accumulators are in memory, each as large as the model. A row's gradient goes
into both the moment it is complete. Left out: several rows a pass by torch.func. It would hold the
gradients of all of them at once, and answers are long enough to keep a matrix product busy.
"""

from typing import NamedTuple

import torch

from wagle.attribution.gradients import taking_gradients
from wagle.data.prompts import Encoded
from wagle.errors import WagleError
from wagle.model.checkpointing import checkpointed
from wagle.model.losses import answer_loss


class RowMoments(NamedTuple):
    """Moments of the gradients of n rows, by parameter name and of the parameters' shapes.

    mean: of the gradients. squares: of their squares. loss: the rows' mean loss in nats.
    """

    mean: dict[str, torch.Tensor]
    squares: dict[str, torch.Tensor]
    loss: float

    def variance(self, name: str) -> torch.Tensor:
        """E[g^2] - E[g]^2 of parameter `name`, at least 0 where rounding would make it less."""
        return (self.squares[name] - self.mean[name].square()).clamp_min(0)


def row_moments(
    model, rows: list[Encoded], pad_id: int, *, activation_checkpointing: bool = False
) -> RowMoments:
    """The moments of the gradient of each row's answer loss, in fp32 (fp64 for an fp64 model).

    Raises WagleError when there are no rows, or a moment is not finite, naming the parameter.
    """
    if not rows:
        raise WagleError("no rows to take gradients of")
    mean, squares = (
        {
            name: torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32))
            for name, p in model.named_parameters()
        }
        for _ in range(2)
    )
    losses = []  # read once, for each reading waits for the GPU

    def add(name: str, gradient: torch.Tensor) -> None:
        gradient = gradient.to(mean[name].dtype)
        mean[name].add_(gradient)
        squares[name].addcmul_(gradient, gradient)

    with taking_gradients(model, add), checkpointed(model, activation_checkpointing):
        for row in rows:
            loss = answer_loss(model, [row], pad_id).mean.sum()
            loss.backward()
            losses.append(loss.detach())
    for name in mean:
        mean[name] /= len(rows)
        squares[name] /= len(rows)
        if not torch.isfinite(squares[name]).all():
            raise WagleError(
                f"the squared gradient of {name} has NaN or Inf",
                do="check the model's precision and the data rows",
            )
    return RowMoments(mean, squares, sum(torch.stack(losses).double().tolist()) / len(rows))
