"""The modules behind a config's selections and methods: their names, and what they ask for.

Standard library only. Modules are read, not imported, because their imports may be heavy.
"""

from wagle.runtime import identity
from wagle.runtime.handover import PACKAGE

OBJECTIVE_NEEDS = (
    "forget.logits",
    "retain.logits",
    "forget.hidden",
    "retain.hidden",
    "forget.reference",
    "forget.reference.logits",
    "retain.reference.logits",
    "forget.reference.hidden",
    "retain.reference.hidden",
    "retain.prompt",
    "forget.refusal",
    "forget.refusal.reference",
    "second_pass",
    "state",
    "draw",
)
"""What an objective's `NEEDS` may name; docs/extending.md says what each gives."""


def known(folder: str) -> list[str]:
    """Names of this project's own modules in `scores` or `objectives`."""
    return sorted(path.stem for path in (PACKAGE / folder).glob("*.py") if path.stem != "__init__")


def score_module(selection: str, options: dict) -> str:
    """Import name of the score of `selection`; its `options` may name a module of the user's."""
    return options.get("module", f"wagle.scores.{selection}")


def objective_module(method: str, options: dict) -> str:
    """Import name of the objective of `method`; its `options` may name a module of the user's."""
    return options.get("module", f"wagle.objectives.{method}")


def objective_needs(module: str) -> tuple[str, ...]:
    """What objective `module` asks for, some of OBJECTIVE_NEEDS."""
    return tuple(identity.constant(module, "NEEDS", ()))


def reads_refusals(module: str) -> bool:
    """Whether objective `module` reads refusals, instead of the forget answers or beside them."""
    labels = identity.constant(module, "FORGET_LABELS")
    return labels == "refusal" or "forget.refusal" in objective_needs(module)


def has_reference_model(needs) -> bool:
    """Whether an objective with these NEEDS keeps the model before unlearning beside the other."""
    return any(need.endswith((".reference.logits", ".reference.hidden")) for need in needs)
