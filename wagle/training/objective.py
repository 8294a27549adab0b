"""An unlearning objective: a module with a loss and what that loss needs, found by name.

The interface of such a module is in docs/extending.md; `wagle/objectives/` has the paper's and the
field's.

Notable: the module is imported by name. Its code is therefore no static import of the training
code; the rule that uses it names it as a root of its own (wagle/runtime/identity.py).
"""

import functools
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch

from wagle.errors import WagleError
from wagle.experiment.plugins import OBJECTIVE_NEEDS, has_reference_model

INTERFACE = ("loss", "FORGET_LABELS", "NEEDS")
STATE_FUNCTIONS = ("first_state", "next_state")
ARGUMENTS = ("state", "draw")  # needs that `loss` gets as arguments, in the order of NEEDS
OPTIONS_OF_NEEDS = {"hidden": "layer", "second_pass": "rho"}  # options that training reads, too

LossFunction = Callable[..., tuple[torch.Tensor, torch.Tensor]]
"""Maps the outputs of B_f forget rows and of B_r retain rows (wagle/model/outputs.py) to one term
per row, shapes (B_f,) and (B_r,). A step minimises the mean of each, added up."""


@dataclass(frozen=True)
class Objective:
    """A loss, and what it asks of the run.

    forget_labels: `answer`, or `refusal` for a loss on refusals instead of the forget answers.
    needs: some of OBJECTIVE_NEEDS.
    name: stands in messages.
    layer: the block, from 0, whose output is `hidden`.
    rho: length of the step before the second pass (wagle/training/sharpness.py).
    first_state: returns the state before the first step, a dict of numbers.
    next_state: maps the state, the step's mean cross-entropy of retain rows in nats and the number
        of epochs done to the next step's state.
    """

    loss: LossFunction
    forget_labels: str = "answer"
    needs: tuple[str, ...] = ()
    name: str = "the objective"
    layer: int | None = None
    rho: float | None = None
    first_state: Callable[[], dict[str, float]] = dict
    next_state: Callable[[dict[str, float], float, float], dict[str, float]] | None = None

    def wants(self, output: str) -> bool:
        """Whether some row's `output` (`logits` or `hidden`) is asked for."""
        return any(need.endswith(f".{output}") for need in self.needs)

    @property
    def has_reference_model(self) -> bool:
        """Whether it asks for more of the model before unlearning than losses."""
        return has_reference_model(self.needs)


def load_objective(module: str, options: dict) -> Objective:
    """The objective of module `module` with keyword arguments `options` bound to its functions.

    Raises WagleError when the module cannot be imported, lacks a part of the interface or asks for
    what there is not.
    """
    try:
        plugin = importlib.import_module(module)
    except ImportError as error:
        raise WagleError(f"objective module {module!r} cannot be imported: {error}") from None
    needs = tuple(getattr(plugin, "NEEDS", ()))
    for name in (*INTERFACE, *(STATE_FUNCTIONS if "state" in needs else ())):
        if not hasattr(plugin, name):
            raise WagleError(
                f"objective module {module!r} has no {name}", "the interface of docs/extending.md"
            )
    unknown = sorted(set(needs) - set(OBJECTIVE_NEEDS))
    if unknown:
        raise WagleError(
            f"objective module {module!r} needs {', '.join(map(repr, unknown))}",
            f"some of {', '.join(OBJECTIVE_NEEDS)}",
        )
    values = _options_with_defaults(plugin.loss, options)
    for need, option in OPTIONS_OF_NEEDS.items():
        if any(name.endswith(need) for name in needs) and values.get(option) is None:
            raise WagleError(
                f"objective module {module!r} needs {need}, and its loss has no option {option}",
                f"a keyword argument {option} of its loss",
            )
    has_state = "state" in needs
    return Objective(
        functools.partial(plugin.loss, **options),
        plugin.FORGET_LABELS,
        needs,
        module,
        layer=values.get("layer") if any(name.endswith("hidden") for name in needs) else None,
        rho=values.get("rho") if "second_pass" in needs else None,
        first_state=_bound(plugin.first_state, values) if has_state else dict,
        next_state=_bound(plugin.next_state, values) if has_state else None,
    )


def _options_with_defaults(function, options: dict) -> dict:
    """`options`, and the default of each keyword-only argument that they leave out."""
    parameters = inspect.signature(function).parameters.values()
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    missing = [p.name for p in keywords if p.default is p.empty and p.name not in options]
    if missing:
        raise WagleError(
            f"no option {', '.join(missing)} for {function.__module__}", "a value in `options`"
        )
    return {p.name: p.default for p in keywords} | options


def _bound(function, values: dict):
    """`function` with those of the loss's options that it has as keyword arguments."""
    parameters = inspect.signature(function).parameters.values()
    names = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    return functools.partial(function, **{name: values[name] for name in names})
