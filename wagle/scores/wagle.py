"""WAGLE's attribution score (paper, eq. 7): S = theta * g_f - (1/gamma) * g_r * g_f.

The first term is the sensitivity of the forget loss to the weight (SNIP). The second is how much
restoring utility pulls the weight back, with the retain Hessian approximated by gamma * I.

Notable: the ranking does not change with the scale of g_f, but it does with that of g_r. So gamma
has a meaning only together with `attribution.reduction` (sum or mean over samples).
"""

from wagle.errors import WagleError

NEEDS = ("forget", "retain")
SELECT = "global"
ROWWISE = True


def terms(weight, forget, retain, *, gamma):
    """Both terms, each of `weight`'s shape; the score is their difference.

    Raises WagleError unless gamma > 0.
    """
    if not gamma > 0:
        raise WagleError(f"gamma {gamma!r}", "a positive number, such as 1.0e-6 (paper, TOFU)")
    return weight * forget, retain * forget / gamma


def score(weight, forget, retain, *, gamma):
    """Same shape as `weight`; ranked by absolute value."""
    first, second = terms(weight, forget, retain, gamma=gamma)
    return first - second
