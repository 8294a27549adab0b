"""MemFlex's whole tensors: a large forget gradient that points elsewhere than the retain gradient.

A tensor qualifies if the cosine of its two gradients is below `cosine`. Qualifying tensors come
first, then the others, both by the mean of |g_f|. Source: Tian et al. 2024 (arXiv 2407.01920).

Notable: the mask's size takes the place of the published limit on the mean of |g_f|, which depends
on the model and on `attribution.reduction`. So the last tensor is cut where the size is reached, by
the lower index. The published code decides again at every step; here the mask stays.
"""

NEEDS = ("forget", "retain")
SELECT = "global"

# Lifts qualifying tensors above all others. A power of two, so that their order stays exact.
FIRST = 2.0**60


def score(weight, forget, retain, *, cosine=0.92):
    """One value for the whole tensor, in `weight`'s shape, non-negative."""
    dot = (forget.double() * retain.double()).sum()
    norms = forget.double().norm() * retain.double().norm()
    qualifies = bool(dot < cosine * norms)
    size = forget.double().abs().mean() * (FIRST if qualifies else 1.0)
    return size.float().expand(weight.shape)
