"""Wanda: abs(W) times the norm of the input feature, per output row.

Source: Sun et al. 2023, arXiv 2306.11695, eq. 1. The norms come from forget rows.

Notable: as in the paper, only linear layers inside the blocks are ranked. Every other parameter
(embeddings, norms, output head) stays trainable. The true budget is therefore above the nominal
ratio, and it is recorded.
"""

NEEDS = ("activations",)
SELECT = "rows"
ROWWISE = True


def score(weight, activations):
    """Shape (out, in), from weight (out, in) and activations (in,).

    activations: sqrt of the mean over samples of each input feature's squared L2 norm.
    """
    return weight.abs() * activations
