"""NPO+SAM: NPO whose forget gradient is taken where the loss is sharpest (Fan et al. 2025).

The forget gradient is that of theta + rho * g / norm(g), the retain gradient that of theta
(arXiv 2502.05374). g is the gradient of NPO's forget term over the weights that may change.
wagle/training/sharpness.py takes the step. beta, lambda and rho are those of the authors for WMDP.

Notable: each step passes the forget rows twice.
"""

from wagle.objectives import npo

FORGET_LABELS = "answer"
NEEDS = ("forget.reference", "second_pass")


def loss(forget, retain, *, beta=0.015, size="mean", retain_weight=2.25, rho=0.01):
    """Terms per row, shapes (B_f,) and (B_r,), as npo.loss() gives them.

    rho: length of the step uphill, over all weights that may change; training reads it.

    Raises WagleError as npo.loss() does.
    """
    return npo.loss(forget, retain, beta=beta, size=size, retain_weight=retain_weight)
