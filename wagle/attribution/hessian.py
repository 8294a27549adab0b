"""Products of the retain Hessian with a vector, by differentiating the gradient once more.

Notable: fused attention kernels have no second derivative (pytorch issue 116350), so attention runs
in its plain form meanwhile. The graph of a batch's gradient is kept until its product is taken:
about twice the memory of a gradient. Left out: activation checkpointing.
"""

import contextlib
from collections.abc import Iterator, Mapping

import torch

from wagle.attribution.curvature import RetainLoss
from wagle.data.batching import by_length
from wagle.model.losses import answer_loss


@contextlib.contextmanager
def eager_attention(model) -> Iterator[None]:
    """Inside the `with` block the model's attention is the plain one, which has all derivatives."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def product(loss: RetainLoss, vector: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """H v by parameter name, H the Hessian of `loss`; `vector` has the parameters' shapes.

    In the model's precision, but at least fp32.
    """
    parameters = dict(loss.model.named_parameters())
    result = {
        name: torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32))
        for name, p in parameters.items()
    }
    weights = list(parameters.values())
    with eager_attention(loss.model):
        for batch in by_length([len(row) for row in loss.rows], loss.token_budget):
            rows = [loss.rows[i] for i in batch]
            batch_loss = loss.factor * answer_loss(loss.model, rows, loss.pad_id).mean.sum()
            gradients = torch.autograd.grad(
                batch_loss, weights, create_graph=True, allow_unused=True, materialize_grads=True
            )
            slope = sum(
                (gradient * vector[name].to(gradient.dtype)).sum()
                for name, gradient in zip(parameters, gradients, strict=True)
            )
            products = torch.autograd.grad(
                slope, weights, allow_unused=True, materialize_grads=True
            )
            for name, part in zip(parameters, products, strict=True):
                result[name] += part
    return result
