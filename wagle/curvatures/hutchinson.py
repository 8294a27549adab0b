"""Hutchinson's estimate of the Hessian's diagonal: the mean of v * (H v) over random signs v.

Source: Yao et al. 2021 (AdaHessian, arXiv 2006.00719). That optimizer takes absolute values and
averages blocks. Here the signed mean is kept, for the Hessian of a trained model has negative
entries; the score takes the absolute value.

Notable: each draw differentiates twice, and takes about twice a gradient's memory. An entry's error
is the root of the sum of its row's other squared entries, over the root of `draws`.
"""

import torch

from wagle.attribution.hessian import product
from wagle.errors import WagleError


def diagonal(loss, *, draws=1):
    """The mean over `draws` random sign vectors; of the parameters' shapes, of either sign.

    Raises WagleError for fewer than one draw.
    """
    if draws < 1:
        raise WagleError(f"draws {draws!r}", "at least 1")
    result = {}
    for _ in range(draws):
        signs = {
            name: torch.randint(0, 2, p.shape, generator=loss.generator).mul_(2).sub_(1).to(p)
            for name, p in loss.model.named_parameters()
        }
        for name, part in product(loss, signs).items():
            part = part.mul_(signs[name]).div_(draws)
            result[name] = result[name] + part if name in result else part
    return result
