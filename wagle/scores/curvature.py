"""WAGLE's score with an estimate of the retain Hessian's diagonal in place of gamma * I.

S = theta * g_f - g_r * g_f / (|h| + d), h the estimate and d a damping. With h constant and d = 0
it is WAGLE's score, bit for bit.

d is given as a multiple of the mean of |h| over all weights. So it means the same for summed and
for averaged gradients, and for models of any scale.
"""

from wagle.errors import WagleError

NEEDS = ("forget", "retain", "curvature", "curvature_mean")
SELECT = "global"
ROWWISE = True


def terms(weight, forget, retain, curvature, curvature_mean, *, damping=0.1):
    """Both terms, each of `weight`'s shape; the score is their difference.

    curvature: of `weight`'s shape, or one number. curvature_mean: the mean of |h|, one number.

    Raises WagleError where |h| + d is 0, or for a damping below 0.
    """
    if not damping >= 0:
        raise WagleError(f"damping {damping!r}", "a number of at least 0")
    divisor = curvature.abs() + damping * curvature_mean
    if not (divisor > 0).all():
        raise WagleError(
            f"damping {damping!r}, and an estimated curvature of 0",
            "a positive sum of both",
            "raise options.damping of this selection",
        )
    return weight * forget, retain * forget / divisor


def score(weight, forget, retain, curvature, curvature_mean, *, damping=0.1):
    """Same shape as `weight`; ranked by absolute value."""
    first, second = terms(weight, forget, retain, curvature, curvature_mean, damping=damping)
    return first - second


def shares(weight, forget, retain, curvature, curvature_mean, *, damping=0.1):
    """Conditions whose share of all weights is reported, each of a shape that fits `weight`."""
    small = curvature.abs() < damping * curvature_mean
    return {"share_below_damping": small.expand(weight.shape)}
