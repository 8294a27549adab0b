"""Names of the modules behind a config's selections and methods. Standard library only."""

from wagle.runtime.handover import PACKAGE

BUDGET_FORMS = ("counts", "row_counts", "total")  # functions of which a budget rule has one


def known(folder: str) -> list[str]:
    """Names of this project's own modules in a folder of the package, such as `scores`."""
    return sorted(path.stem for path in (PACKAGE / folder).glob("*.py") if path.stem != "__init__")


def score_module(selection: str, options: dict) -> str:
    """Import name of the score of `selection`; its `options` may name a module of the user's."""
    return options.get("module", f"wagle.scores.{selection}")


def curvature_module(name: str, options: dict) -> str:
    """Import name of the curvature estimator `name`; its `options` may name the user's module."""
    return options.get("module", f"wagle.curvatures.{name}")


def budget_module(budget: dict) -> str:
    """Import name of a selection's budget rule: of wagle/budgets/, or a module of the user's."""
    return budget.get("module") or f"wagle.budgets.{budget['rule']}"


def objective_module(method: str, options: dict) -> str:
    """Import name of the objective of `method`; its `options` may name a module of the user's."""
    return options.get("module", f"wagle.objectives.{method}")
