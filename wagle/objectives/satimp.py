"""SatImp: gradient ascent, tokens weighted by saturation and importance.

    w * -mean_t [ p_t^beta1 * (1 - p_t)^beta2 * ce_t ] + lambda * CE_r

Yang et al. 2025, arXiv 2505.11953. p_t is the probability of the answer's token t, without a
gradient; ce_t = -log p_t.

Notable: open-unlearning's config has w 0.1 and lambda 1.0, its README w 1.0 and lambda 0.1. Here
both are 1 unless the config says otherwise. `average` is as in wga.py.
"""

FORGET_LABELS = "answer"
NEEDS = ()


def loss(
    forget, retain, *, beta1=5.0, beta2=1.0, average="row", forget_weight=1.0, retain_weight=1.0
):
    """Terms per row, shapes (B_f,) and (B_r,).

    forget_weight: w. retain_weight: lambda.

    Raises WagleError for another average.
    """
    p = (-forget.token_losses.detach()).exp()
    terms = forget.average(-(p**beta1) * (1 - p) ** beta2 * forget.token_losses, average)
    return forget_weight * terms, retain_weight * retain.mean
