"""Uniform: every tensor gets the same share of its weights, rounded so that the total is exact.

A larger ratio takes no weight away.
"""

from wagle.attribution.apportionment import apportion


def counts(tensors, k):
    """Weights of each of `tensors` to select, `k` in all."""
    return apportion(tensors, [tensor.size for tensor in tensors], k)
