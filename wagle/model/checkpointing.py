"""Activation checkpointing: a block's activations are recomputed in the backward pass.

This saves memory, as only one activation per block and token is stored, and costs a third more
arithmetic. It changes no bit of a gradient.

Notable: it works in training and in evaluation mode alike. The library's own switch works in
training mode only, where a model may have dropout.
"""

import contextlib
import functools
from collections.abc import Iterator

from torch.utils.checkpoint import checkpoint

from wagle.errors import WagleError


def blocks(model) -> list:
    """The transformer blocks of `model`. Raises WagleError for a model that marks none."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    result = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not result:
        raise WagleError(
            f"{type(model).__name__} marks no blocks",
            do="switch activation_checkpointing off, and use one GPU a job",
        )
    return result


@contextlib.contextmanager
def checkpointed(model, active: bool = True) -> Iterator[None]:
    """Inside the `with` block every transformer block of `model` is checkpointed, if `active`.

    Raises WagleError as blocks() does.
    """
    if not active:
        yield
        return
    model_blocks = blocks(model)
    for block in model_blocks:
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        for block in model_blocks:
            del block.forward
