"""Gauss-Newton-Bartlett: the squared gradient of the loss on labels that the model draws itself.

At each answer position, with the true tokens before it, a label is drawn from the model's own
distribution. The gradients of such positions are independent with mean zero. So the square of
their sum has the sum of their squares as its mean, and that is the diagonal of the Gauss-Newton
matrix. Source: Liu et al. 2024 (Sophia, arXiv 2305.14342), algorithm 2.

Sophia weights all positions of a batch alike. Here a row's loss is the mean over its T tokens, so a
position counts with sqrt(factor / T): its square is the weight that the position has in the loss.
For rows of equal length that is Sophia's B * (mean gradient)^2.

Notable: the estimate is never negative and needs no second derivative. Labels are drawn in the
order of the rows, so batches do not matter. Left out: clipping the gradient before it is squared,
which Sophia's training script does, and which is no estimate of the diagonal any more.
"""

import torch

from wagle.attribution.gradients import moving_gradients_into
from wagle.data.batching import by_length
from wagle.errors import WagleError
from wagle.model.checkpointing import checkpointed
from wagle.model.outputs import row_outputs


def diagonal(loss, *, draws=1):
    """The mean over `draws` draws of all labels; of the parameters' shapes, non-negative.

    Each draw is one backward pass over the rows. The error falls with the root of `draws`.

    Raises WagleError for fewer than one draw.
    """
    if draws < 1:
        raise WagleError(f"draws {draws!r}", "at least 1")
    result = None
    for _ in range(draws):
        squares = {name: g.square_().div_(draws) for name, g in _sampled_gradient(loss).items()}
        if result is None:
            result = squares
        else:
            for name, square in squares.items():
                result[name] += square
    return result


def _sampled_gradient(loss):
    """The gradient of the weighted loss on one draw of all labels, by parameter name."""
    lengths = [len(row) for row in loss.rows]
    uniform = [
        torch.rand(len(row), generator=loss.generator, dtype=torch.float64) for row in loss.rows
    ]
    sums = {
        name: torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32))
        for name, p in loss.model.named_parameters()
    }
    checkpointing = checkpointed(loss.model, loss.activation_checkpointing)
    with moving_gradients_into(sums, loss.model), checkpointing:
        for batch in by_length(lengths, loss.token_budget):
            rows = [loss.rows[i] for i in batch]
            outputs = row_outputs(loss.model, rows, loss.pad_id, logits=True)
            logits, tokens = outputs.logits, outputs.tokens.tolist()
            places = [uniform[i][:n] for i, n in zip(batch, tokens, strict=True)]
            labels = _draw(logits.detach(), torch.cat(places).to(logits.device))
            weights = torch.cat(
                [torch.full((n,), (loss.factor / n) ** 0.5, dtype=logits.dtype) for n in tokens]
            )
            token_losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
            (token_losses * weights.to(logits.device)).sum().backward()
    return sums


def _draw(logits, uniform):
    """Labels (n,) with the probabilities softmax(logits), (n, V), by inverting their sums."""
    sums = logits.softmax(1).cumsum(1).to(uniform.dtype)
    return (sums < uniform[:, None]).sum(1).clamp_max(logits.shape[1] - 1)
