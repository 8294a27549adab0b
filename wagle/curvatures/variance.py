"""The variance over rows of the gradient of one row: the empirical Fisher without the mean's share.

Source: VILA (arXiv 2508.21300) uses this form of the Fisher information for its importances.
"""


def diagonal(loss):
    """Of the parameters' shapes, non-negative."""
    moments = loss.row_moments()
    factor = loss.factor * len(loss.rows)
    return {name: moments.variance(name).mul_(factor) for name in moments.mean}
