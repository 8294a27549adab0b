"""NPO, negative preference optimization (Zhang et al. 2024, arXiv 2404.05868, eq. 3), with retain.

    -(2/beta) log sigmoid(beta x) + lambda * CE_r,   x = CE_f(theta) - CE_f(theta_ref)

`size: sum` takes x over the sum of the answer's tokens, as NPO's authors and open-unlearning do.
`size: mean` takes it over their mean, as the official WAGLE code does.

Notable: with the mean, beta * x is tiny, and the loss is close to GradDiff's.
"""

from wagle.errors import WagleError

FORGET_LABELS = "answer"
NEEDS = ("forget.reference",)


def loss(forget, retain, *, beta=0.1, size="mean", retain_weight=1.0):
    """Terms per row, shapes (B_f,) and (B_r,).

    forget.reference: the forget rows' losses at theta_ref, computed once, before training.
    retain_weight: lambda.

    Raises WagleError for a size other than sum or mean, or a beta that is not positive.
    """
    from torch.nn.functional import logsigmoid

    if size not in ("sum", "mean"):
        raise WagleError(f"npo: size {size!r}", "'sum' or 'mean'")
    if not beta > 0:
        raise WagleError(f"npo: beta {beta!r}", "a positive number; GradDiff is the limit at 0")
    x = getattr(forget, size) - getattr(forget.reference, size)
    return -(2 / beta) * logsigmoid(beta * x), retain_weight * retain.mean
