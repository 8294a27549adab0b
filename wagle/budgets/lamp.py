"""LAMP on |S|: a weight counts with its squared score's part of the squares not above it.

Within a tensor the j-th largest score s_j has the LAMP score s_j^2 / (s_1^2 + ... + s_j^2), and all
weights of the model are ranked by it. So each tensor's largest counts 1, and no tensor is empty
once k is at least their number. Source: Lee et al. 2021 (arXiv 2010.07611), with s the weights;
here s is the selection's score.

Notable: the inverse is the rank, and within a tensor it rises with j. So only the number of weights
of each tensor is sought, from its histogram (scores cut to 16 bits). Nothing is sorted. Of a tensor
of zeros the first weight has rank 1 and the others come last. A larger ratio takes no weight away.
"""

import numpy as np

from wagle.attribution.apportionment import check_total, lowest_ranks


def counts(tensors, k):
    """Weights of each of `tensors` to select, `k` in all."""
    check_total(tensors, k)
    ranked = [_Ranks(tensor) for tensor in tensors]
    return lowest_ranks(lambda rank: np.array([ranks.at_most(rank) for ranks in ranked]), k)


class _Ranks:
    """A tensor's inverse LAMP scores, by bins of equal scores, the largest first."""

    def __init__(self, tensor):
        positive = tensor.values > 0
        squares, numbers = tensor.values[positive] ** 2, tensor.numbers[positive]
        self.size, self.numbers = tensor.size, numbers
        sums = (squares * numbers).cumsum()
        # the i-th of a bin has rank `before + i`, in units of its own square
        self.before = np.concatenate([[0.0], sums[:-1]]) / squares
        self.first = self.before + 1
        self.counted = np.concatenate([[0], numbers.cumsum()])

    def at_most(self, rank):
        """How many of the tensor's ranks are at most `rank`."""
        if rank == np.inf:
            return self.size
        if not len(self.numbers):
            return int(self.size > 0 and rank >= 1)
        bin_index = int(np.searchsorted(self.first, rank, side="right")) - 1
        if bin_index < 0:
            return 0
        before, numbers = self.before[bin_index], int(self.numbers[bin_index])
        inside = min(int(rank - before), numbers)
        inside += inside < numbers and before + (inside + 1) <= rank  # as the sums are rounded
        inside -= before + inside > rank
        return int(self.counted[bin_index]) + inside
