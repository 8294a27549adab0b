"""Mass: the smallest number of weights that hold the share `ratio` of the sum of |S|.

The cell's ratio is a share of the scores' sum here, and no longer one of the weights. How many
weights that is depends on the scores, so the size of the mask is automatic. They are the largest
of the whole model.

Notable: sums are over scores cut to 16 bits. A larger ratio takes no weight away.
"""

import numpy as np

from wagle.attribution.apportionment import TensorScores


def total(tensors, ratio):
    """How many weights the one ranking of all weights selects."""
    model = TensorScores("model", (), sum(tensor.counts for tensor in tensors))
    values, numbers = model.values, model.numbers
    mass = (values * numbers).cumsum()
    target = ratio * mass[-1] if len(mass) else 0.0
    if target <= 0:
        return 0
    last = int(np.searchsorted(mass, target))  # the bin in which the target is reached
    last = min(last, len(values) - 1)
    before = mass[last - 1] if last else 0.0
    inside = int(np.ceil((target - before) / values[last]))
    return int(numbers[:last].sum()) + int(min(max(inside, 1), numbers[last]))
