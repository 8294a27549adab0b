"""An unlearning objective: a module with a loss and what that loss needs, found by name.

The interface of such a module is in docs/extending.md; `wagle/objectives/` has the paper's.

Notable: the module is imported by name. Its code is therefore no static import of the training
code; the rule that uses it names it as a root of its own (wagle/runtime/identity.py).
"""

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass

import torch

from wagle.errors import WagleError
from wagle.model.losses import RowLoss

INTERFACE = ("loss", "FORGET_LABELS", "NEEDS_REFERENCE")

LossFunction = Callable[[RowLoss, RowLoss, RowLoss | None], tuple[torch.Tensor, torch.Tensor]]
"""Maps the losses of B_f forget rows, of B_r retain rows and the reference's losses of the same
forget rows to one term per row, shapes (B_f,) and (B_r,). A step minimises the mean of each, added
up."""


@dataclass(frozen=True)
class Objective:
    """A loss, and what it asks of the run.

    forget_labels: `answer`, or `refusal` for a loss on refusals instead of the forget answers.
    needs_reference: whether `loss` reads the forget rows' losses before training.
    name: stands in messages.
    """

    loss: LossFunction
    forget_labels: str = "answer"
    needs_reference: bool = False
    name: str = "the objective"


def load_objective(module: str, options: dict) -> Objective:
    """The objective of module `module` with keyword arguments `options` bound to its loss.

    Raises WagleError when the module cannot be imported or lacks a part of the interface.
    """
    try:
        plugin = importlib.import_module(module)
    except ImportError as error:
        raise WagleError(f"objective module {module!r} cannot be imported: {error}") from None
    for name in INTERFACE:
        if not hasattr(plugin, name):
            raise WagleError(
                f"objective module {module!r} has no {name}", "the interface of docs/extending.md"
            )
    return Objective(
        functools.partial(plugin.loss, **options),
        plugin.FORGET_LABELS,
        plugin.NEEDS_REFERENCE,
        module,
    )
