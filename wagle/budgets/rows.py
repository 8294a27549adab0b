"""Rows: every row of every tensor gets the same share of its weights, to the nearest numbers.

A vector is one row, and a tensor of more dimensions is flattened behind its first. Rows of equal
width differ by one weight at most (topk.row_budgets), and a larger ratio takes no weight away.
"""

from wagle.attribution.topk import row_budgets


def row_counts(tensors, k):
    """Weights of each row to select, `k` in all: for each of `tensors` an array, (rows,)."""
    shapes = {}
    for tensor in tensors:
        height = tensor.shape[0] if len(tensor.shape) > 1 else 1
        shapes[tensor.name] = [height, tensor.size // max(1, height)]
    return list(row_budgets(shapes, k).values())
