"""SURE's rows: each weight counts with the norm of its row of the forget gradient.

A row is what the first index of a tensor selects: the weights into one output, or one number of a
vector. Source: Zhang et al. 2025 (arXiv 2410.16454).

Notable: the mask's size takes the place of the published 90th percentile. The published code
selects again at every step; here the mask stays.
"""

NEEDS = ("forget",)
SELECT = "global"
ROWWISE = True


def score(weight, forget):
    """Same shape as `weight`, one value for each row, non-negative."""
    norms = forget.reshape(len(forget), -1).norm(dim=1)
    return norms.reshape(-1, *[1] * (weight.dim() - 1)).expand(weight.shape)
