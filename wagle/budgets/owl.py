"""OWL: layers with more outliers among their scores get more of the budget.

D_l is the share of layer l's scores above `outlier` times their mean. The layer's ratio is the
overall one plus q_l minus the mean of q, where q_l = 2 * spread * (D_l - min D) / (max D - min D).
All tensors of a layer have its ratio. What is outside the layers has the overall one. Ratios are
cut to [0, 1], and one scale for all makes the total exact. Source: Yin et al. 2024 (arXiv
2310.05175).

Notable: published with |W| * |X| as the score, which is selection `wanda`, and with the share of
weights that are kept; here it is the share that is updated. Scores are read cut to 16 bits. A
larger ratio may take weights away from a layer at a cut.
"""

import numpy as np

from wagle.attribution.apportionment import apportion


def counts(tensors, k, *, outlier=5.0, spread=0.08):
    """Weights of each of `tensors` to select, `k` in all."""
    sizes = np.array([tensor.size for tensor in tensors], float)
    overall = k / sizes.sum() if sizes.sum() else 0.0
    layers = sorted({tensor.layer for tensor in tensors} - {None})
    outliers = np.array(
        [_outliers([t for t in tensors if t.layer == layer], outlier) for layer in layers]
    )
    extra = np.zeros(len(layers))
    if len(layers) and np.ptp(outliers) > 0:
        extra = 2 * spread * (outliers - outliers.min()) / np.ptp(outliers)
        extra -= extra.mean()
    ratio_of = dict(zip(layers, overall + extra, strict=True))
    ratios = np.array([ratio_of.get(tensor.layer, overall) for tensor in tensors])
    return apportion(tensors, ratios.clip(0, 1) * sizes, k)


def _outliers(tensors, outlier):
    """The share of the scores of `tensors` above `outlier` times their mean."""
    numbers = sum(tensor.size for tensor in tensors)
    total = sum(float((t.values * t.numbers).sum()) for t in tensors)
    limit = outlier * total / numbers if numbers else 0.0
    above = sum(int(t.numbers[t.values > limit].sum()) for t in tensors)
    return above / numbers if numbers else 0.0
