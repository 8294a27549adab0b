"""h = factor * GN for every weight, GN the norm of the retain gradient: the axis of Fig. 3.

It says on which scale gamma lies, and has the unit of a gradient rather than of a Hessian.
"""

import torch


def diagonal(loss, *, factor=1.0):
    """One number for each parameter."""
    gradients = loss.gradient().by_name.values()
    norm = float(torch.stack([g.double().square().sum() for g in gradients]).sum().sqrt())
    return loss.everywhere(factor * norm)
