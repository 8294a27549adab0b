"""WGA: gradient ascent in which unlikely tokens count less (Wang et al. 2025, arXiv 2502.19301).

    -mean_t [ p_t^beta * ce_t ] + lambda * CE_r

p_t is the probability of the answer's token t, without a gradient; ce_t = -log p_t. A token that is
forgotten already has a weight near 0, so the ascent stops by itself.

`average: row` takes the mean over each answer first. `average: batch` takes it over all answer
tokens of a step, as open-unlearning does.
"""

FORGET_LABELS = "answer"
NEEDS = ()


def loss(forget, retain, *, beta=1.0, average="row", retain_weight=1.0):
    """Terms per row, shapes (B_f,) and (B_r,).

    retain_weight: lambda.

    Raises WagleError for another average.
    """
    weights = (-forget.token_losses.detach()).exp() ** beta
    terms = forget.average(-weights * forget.token_losses, average)
    return terms, retain_weight * retain.mean
