"""Activations: how far each input of a linear layer is on, times the size of what it then adds.

Input j of a layer counts with |x_j| * |W[:, j]|, and so does each of its outgoing weights. For the
second layer of an MLP these are the neurons and their value vectors. Sources: Geva et al. 2022
(arXiv 2203.14680); Chang et al. 2024 (arXiv 2311.09060) and arXiv 2505.16252 localise facts by it.

Notable: |x_j| is the norm over the tokens of a forget row (as Wanda's) rather than their mean. All
linear layers of the blocks are ranked together, for MLPs alone hold fewer weights than most ratios
ask for. Other parameters are frozen.
"""

NEEDS = ("activations",)
SELECT = "global"


def score(weight, activations):
    """Shape (out, in), each column with one value, from weight (out, in) and activations (in,)."""
    return (weight.norm(dim=0) * activations).expand(weight.shape)
