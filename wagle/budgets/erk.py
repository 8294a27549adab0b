"""ERK: a matrix gets weights in proportion to its sides, n_in + n_out, up to all it has.

So the share of a matrix's weights is proportional to (n_in + n_out) / (n_in * n_out): small ones
are selected more densely. One scale for all makes the total exact, and tensors that it would fill
beyond their size are full. Sources: Mocanu et al. 2018 (arXiv 1707.04780); Evci et al. 2020
(arXiv 1911.11134).

A vector of n counts as n x 1. A larger ratio takes no weight away.
"""

from wagle.attribution.apportionment import apportion


def counts(tensors, k):
    """Weights of each of `tensors` to select, `k` in all."""
    sides = [sum(t.shape) if len(t.shape) > 1 else sum(t.shape) + 1 for t in tensors]
    return apportion(tensors, sides, k)
