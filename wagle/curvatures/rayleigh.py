"""The curvature of the retain loss along its own gradient: g' H g / g' g for every weight.

It is the number behind `gamma: auto`. A step -g_r / gamma minimises the retain loss, as its second
order sees it, along the gradient exactly if gamma is this number (the Cauchy step). WAGLE's second
term is what such a step does to the forget loss. docs/curvature.md has the argument.

Notable: it takes one Hessian product and draws nothing. Where the loss curves downwards along its
gradient the absolute value is taken, as saddle-free Newton does (Dauphin et al. 2014, arXiv
1406.2572).
"""

from wagle.attribution.hessian import product
from wagle.errors import WagleError


def diagonal(loss):
    """One positive number for each parameter.

    Raises WagleError where the gradient, or the curvature along it, is 0.
    """
    gradient = loss.gradient().by_name
    curved = product(loss, gradient)
    along = sum(float((curved[name].double() * g.double()).sum()) for name, g in gradient.items())
    length = sum(float(g.double().square().sum()) for g in gradient.values())
    if not along or not length:
        raise WagleError(
            f"the retain loss has gradient norm {length**0.5:g} and curvature {along:g} along it",
            "both other than 0",
            "give gamma as a number",
        )
    return loss.everywhere(abs(along) / length)
