"""What can be known of a method's objective before a model loads.

It asks for what there is, its options are complete, and the model has the layer that it reads.
Standard library only. Left out: names of options (checks.py), and what the values mean to the loss.
"""

from wagle.errors import WagleError
from wagle.experiment.model_shape import shape
from wagle.experiment.plugins import OBJECTIVE_NEEDS, objective_needs
from wagle.runtime import identity


def check_objective(config: dict, module: str, options: dict, where: str) -> None:
    """Raise WagleError unless objective `module` can run with `options`; `where` is the method."""
    needs = objective_needs(module)
    unknown = sorted(set(needs) - set(OBJECTIVE_NEEDS))
    if unknown:
        raise WagleError(
            f"{where}: NEEDS of {module} has {', '.join(map(repr, unknown))}",
            f"some of {', '.join(OBJECTIVE_NEEDS)}",
        )
    defaults = identity.keyword_defaults(module, "loss")
    required = [name for name in identity.keyword_options(module, "loss") if name not in defaults]
    missing = [name for name in required if name not in options]
    if missing:
        raise WagleError(
            f"{where}.options has no {', '.join(missing)}", f"a value, as {module} has no default"
        )
    if any(need.endswith(".hidden") for need in needs):
        _check_layer(config, (defaults | options).get("layer"), where)


def _check_layer(config: dict, layer, where: str) -> None:
    try:
        layers = shape(config).layers
    except WagleError:  # the shape is not known yet; the job will check
        return
    if type(layer) is not int or not 0 <= layer < layers:
        raise WagleError(
            f"{where} reads layer {layer}, and the model has {layers} blocks",
            f"options.layer from 0 to {layers - 1}",
        )
