"""Ratio of Fisher informations, F_f / (F_r + eps), F the mean over rows of squared gradients.

Source: FILA (Cha et al. 2025, arXiv 2408.06621), eps from its code. That code squares the gradients
of whole batches; here each row's gradient is squared (wagle/attribution/row_gradients.py).
"""

NEEDS = ("forget_squares", "retain_squares")
SELECT = "global"
ROWWISE = True


def score(weight, forget_squares, retain_squares, *, eps=1e-5):
    """Same shape as `weight`, non-negative."""
    return forget_squares / (retain_squares + eps)
