"""Names of the modules behind a config's selections and methods. Standard library only."""

from wagle.runtime.handover import PACKAGE


def known(folder: str) -> list[str]:
    """Names of this project's own modules in `scores` or `objectives`."""
    return sorted(path.stem for path in (PACKAGE / folder).glob("*.py") if path.stem != "__init__")


def score_module(selection: str, options: dict) -> str:
    """Import name of the score of `selection`; its `options` may name a module of the user's."""
    return options.get("module", f"wagle.scores.{selection}")


def objective_module(method: str, options: dict) -> str:
    """Import name of the objective of `method`; its `options` may name a module of the user's."""
    return options.get("module", f"wagle.objectives.{method}")
