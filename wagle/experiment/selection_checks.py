"""What can be known of a selection's curvature and budget rule before a model loads.

Their modules exist, their options are complete, and they fit the score. Standard library only.
"""

from wagle.errors import WagleError
from wagle.experiment import grid, plugins
from wagle.experiment.cells import AUTO
from wagle.experiment.plugins import BUDGET_FORMS, budget_module, curvature_module, score_module
from wagle.experiment.unknown_names import check_known, raise_unknown
from wagle.runtime import identity


def required_options(module: str) -> set[str]:
    """Names of the options without a default of a curvature module."""
    options = set(identity.keyword_options(module, "diagonal"))
    return options - identity.keyword_defaults(module, "diagonal").keys()


def check_curvature(config: dict, selection: str, name: str) -> None:
    """A score that reads a curvature has an estimator, whose module and options exist."""
    options, where = config["selections"][selection], f"{name}: selections.{selection}"
    known = config.get("curvatures", {})
    for key, entry in known.items():
        keywords = identity.keyword_options(curvature_module(key, entry), "diagonal")
        check_known(f"{name}: curvatures.{key}.options", entry.get("options", {}), keywords)
    own = identity.constant(score_module(selection, options), "NEEDS", ())
    reads = "curvature" in own
    if reads != ("curvature" in options):
        raise WagleError(
            f"{where} has {'no' if reads else 'a'} curvature, and its score reads "
            f"{'one' if reads else 'none'}",
            "curvature: a name of `curvatures`" if reads else "no key curvature",
        )
    if "curvature_per" in options and not reads:
        raise WagleError(f"{where}.curvature_per, but its score reads no curvature", "no such key")
    if reads:
        key = options["curvature"]
        module = curvature_module(key, known.get(key, {}))
        if key not in known and identity.module_file(module) is None:
            raise_unknown(f"{where}.curvature", key, known)
        given = known.get(key, {}).get("options", {})
        if missing := required_options(module) - given.keys():
            raise WagleError(
                f"{where}.curvature is {key}, which has no {', '.join(sorted(missing))}",
                f"curvatures.{key}.options",
            )
    if options.get("gamma") == AUTO:
        if {"forget", "retain"} - set(own) or "curvature" in own:
            raise WagleError(f"{where}.gamma is auto, but its score is not WAGLE's", "a number")
        if known.get(grid.AUTO_ESTIMATOR, {}).get("module"):
            raise WagleError(
                f"{name}: curvatures.{grid.AUTO_ESTIMATOR} has a module, and gamma: auto reads it",
                "another name for that module",
            )
    if "base" in own and config["models"]["target"]["source"] != "finetune":
        raise WagleError(
            f"{where} compares with the base model, and models.target is not fine-tuned here",
            "models.target with source finetune",
        )


def check_budget(options: dict, where: str) -> None:
    """A selection's budget rule exists and knows its options."""
    budget = options.get("budget")
    if budget is None:
        return
    if options.get("matched"):
        raise WagleError(f"{where} has a budget and is matched", "one of the two")
    module = budget_module(budget)
    if "rule" in budget and identity.module_file(module) is None:
        raise_unknown(f"{where}.budget.rule", budget["rule"], plugins.known("budgets"))
    forms = [form for form in BUDGET_FORMS if identity.defines(module, form)]
    if len(forms) != 1:
        raise WagleError(
            f"{where}.budget: {module} has {len(forms)} of the functions {', '.join(BUDGET_FORMS)}",
            "one of them (docs/extending.md)",
        )
    keywords = identity.keyword_options(module, forms[0])
    check_known(f"{where}.budget.options", budget.get("options", {}), keywords)
