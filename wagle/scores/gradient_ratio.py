"""Ratio of gradients, |g_f| / (|g_r| + eps): what forgetting moves and keeping does not.

Source: GRIN (arXiv 2508.06467), as summarised there; its noise in the selected weights before
unlearning is left out.

eps is in the unit of the gradients, so it depends on `attribution.reduction`.
"""

NEEDS = ("forget", "retain")
SELECT = "global"
ROWWISE = True


def score(weight, forget, retain, *, eps=1e-8):
    """Same shape as `weight`, non-negative."""
    return forget.abs() / (retain.abs() + eps)
