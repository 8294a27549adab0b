"""Uniform random scores: the control for "any sparse update helps"."""

NEEDS = ("draw",)
SELECT = "global"


def score(weight, draw):
    """Uniform in [0, 1), same shape as `weight`.

    draw: a torch.Generator on the CPU, one for the whole model.
    """
    import torch

    return torch.rand(weight.shape, generator=draw)
