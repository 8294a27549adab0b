"""Wanda: abs(W) times the norm of the input feature (Sun et al. 2023, arXiv 2306.11695, eq. 1), per output row.

Calibrated on forget rows. As in the paper, only linear layers inside the blocks are ranked; every other parameter
(embeddings, norms, output head) stays trainable, so the true budget is above the nominal ratio and is recorded.
"""

NEEDS = ("activations",)
SELECT = "rows"
ROWWISE = True


def score(weight, activations):
    """(out, in) from weight (out, in) and activations (in,): sqrt of the mean over samples of squared L2 norms."""
    return weight.abs() * activations
