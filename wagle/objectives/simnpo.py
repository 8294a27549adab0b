"""SimNPO: NPO without a reference, on losses per token (Fan et al. 2024, arXiv 2410.07163, eq. 4).

    w * -(2/beta) log sigmoid(beta * CE_f - margin) + lambda * CE_r

Two published settings for TOFU, of the authors' code, both with margin 0 and lambda 1:
forget05 has beta 2.5 and w 0.1375, forget10 has beta 4.5 and w 0.125. The defaults are forget10's.

Notable: open-unlearning writes beta * (CE_f - delta). Its delta is margin / beta.
"""

from wagle.errors import WagleError

FORGET_LABELS = "answer"
NEEDS = ()


def loss(forget, retain, *, beta=4.5, margin=0.0, forget_weight=0.125, retain_weight=1.0):
    """Terms per row, shapes (B_f,) and (B_r,).

    forget_weight: w. retain_weight: lambda.

    Raises WagleError for a beta that is not positive.
    """
    from torch.nn.functional import logsigmoid

    if not beta > 0:
        raise WagleError(f"simnpo: beta {beta!r}", "a positive number")
    terms = -(2 / beta) * logsigmoid(beta * forget.mean - margin)
    return forget_weight * terms, retain_weight * retain.mean
