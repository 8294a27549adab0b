"""Weights a short way uphill, for a second gradient pass: sharpness-aware minimisation (SAM).

    e = rho * g / norm(g),   g the gradient of the forget terms over the weights that may change

Fan et al. 2025 (arXiv 2502.05374) take the forget gradient at theta + e and the retain gradient at
theta. Foret et al. 2021 (arXiv 2010.01412) have the general form.

Notable: with a mask, e is zero outside it. The weights are copied and put back, because adding and
subtracting e would not give the same bits; that copy is what the second pass costs in memory.
"""

import contextlib
from collections.abc import Iterator

import torch

from wagle.training.shards import Shards


@contextlib.contextmanager
def perturbed(
    shards: Shards, local_masks: dict[str, torch.Tensor] | None, rho: float
) -> Iterator[None]:
    """Inside the `with` block the weights stand at theta + e; afterwards they have theta's bits.

    The gradient is that in the parameters' `grad`, which is dropped. A zero gradient moves nothing.

    local_masks: this process's parts of the masks, by parameter name; weights under a True move.
    """
    with torch.no_grad():
        for name, parameter in shards.parameters.items():
            if local_masks is not None and parameter.grad is not None:
                parameter.grad.masked_fill_(~local_masks[name].to(parameter.device), 0)
        norm = float(shards.gradient_norm())
        before = {}
        for name, parameter in shards.parameters.items():
            gradient, parameter.grad = parameter.grad, None
            if gradient is not None and norm > 0:
                before[name] = parameter.detach().clone()
                parameter.add_(gradient, alpha=rho / norm)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, weight in before.items():
                shards.parameters[name].copy_(weight)
