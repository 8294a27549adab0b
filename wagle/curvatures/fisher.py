"""The empirical Fisher's diagonal: the mean over rows of the squared gradient of one row.

It takes one backward pass for each row. For the sum over rows it is the sum of the squares.

Notable: it equals the Gauss-Newton diagonal in expectation only if the model itself wrote the
answers, and each has one token. Where rows are fitted well their gradients vanish, and so does it,
though the loss stays curved there.
"""


def diagonal(loss):
    """Of the parameters' shapes, non-negative."""
    moments = loss.row_moments()
    return {
        name: squares.mul_(loss.factor * len(loss.rows))
        for name, squares in moments.squares.items()
    }
