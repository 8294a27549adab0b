"""Task-vector importance: what fine-tuning moved, times how much the forget loss feels it.

S = (theta - theta_base) * g_f is the first-order change of the forget loss if a weight goes back to
the base model's. Source: PerTA (arXiv 2601.22030), as summarised there: it scales the task vector
weight by weight with such importances and subtracts it, without training. Here the importance only
selects the weights, and unlearning trains them.
"""

NEEDS = ("base", "forget")
SELECT = "global"
ROWWISE = True


def score(weight, base, forget):
    """Same shape as `weight`; ranked by absolute value. base: the base model's weight."""
    return (weight - base) * forget
