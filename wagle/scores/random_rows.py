"""Uniform random scores of Wanda's form: ranked per output row, all outside linear layers free.

The control for Wanda: the same number of weights in every row, and the same weights free outside
linear layers. It reads activations only to know which layers are linear.
"""

NEEDS = ("activations", "draw")
SELECT = "rows"


def score(weight, activations, draw):
    """Uniform in [0, 1), same shape as `weight`.

    draw: a torch.Generator on the CPU, one for the whole model.
    """
    import torch

    return torch.rand(weight.shape, generator=draw)
