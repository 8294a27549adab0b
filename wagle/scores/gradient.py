"""Gradient saliency |g_f|, as SalUn selects weights (Fan et al. 2024, arXiv 2310.12508, eq. 3)."""

NEEDS = ("forget",)
SELECT = "global"
ROWWISE = True


def score(weight, forget):
    """Same shape as `weight`, non-negative."""
    return forget.abs()
