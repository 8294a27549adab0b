"""Ratio of the variances over rows of both gradients, V_f / (V_r + eps), V = E[g^2] - E[g]^2.

Source: VILA (arXiv 2508.21300), which argues that E[g^2] alone is no Fisher information where the
mean gradient is not 0. eps from its code. That code squares the gradients of whole batches; here
each row's gradient is squared (wagle/attribution/row_gradients.py).
"""

NEEDS = ("forget_variance", "retain_variance")
SELECT = "global"
ROWWISE = True


def score(weight, forget_variance, retain_variance, *, eps=1e-5):
    """Same shape as `weight`, non-negative."""
    return forget_variance / (retain_variance + eps)
