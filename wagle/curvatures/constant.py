"""h = gamma for every weight: the paper's own choice (eq. 7). With damping 0 it is WAGLE's score.

gamma belongs to the reduction of the gradients, as the paper's does.
"""

from wagle.errors import WagleError


def diagonal(loss, *, gamma):
    """One number for each parameter. Raises WagleError unless gamma > 0."""
    if not gamma > 0:
        raise WagleError(f"gamma {gamma!r}", "a positive number, such as 1.0e-6 (paper, TOFU)")
    return loss.everywhere(gamma)
