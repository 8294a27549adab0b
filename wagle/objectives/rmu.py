"""RMU: steer hidden states of forget texts to noise, hold those of retain texts (Li et al. 2024).

    mean_t || h_t - c u ||^2 + alpha * mean_t || h_t - h_ref,t ||^2        (arXiv 2403.03218)

h_t is the output of block `layer` at the answer's token t, h_ref that of the model before
unlearning. u is one random unit vector, uniform in [0, 1) before it is scaled; it follows the
cell's seed. Defaults are the paper's for Zephyr-7B.

`distance: norm` is the paper's squared norm. `distance: mse` divides it by the width of h, as the
authors' code and open-unlearning do.

What departs: the authors train three down-projections of blocks 5 to 7. Here the cell's selection
says which weights may change. Blocks above `layer` get no gradient.
"""

from wagle.errors import WagleError

FORGET_LABELS = "answer"
NEEDS = ("forget.hidden", "retain.hidden", "retain.reference.hidden", "draw")


def loss(forget, retain, draw, *, layer=7, steering_coefficient=6.5, alpha=1200.0, distance="norm"):
    """Terms per row, shapes (B_f,) and (B_r,).

    draw: a random generator that follows the seed. layer: counted from 0; training reads it, too.
    steering_coefficient: c.

    Raises WagleError for another distance.
    """
    from torch import rand

    if distance not in ("norm", "mse"):
        raise WagleError(f"rmu: distance {distance!r}", "'norm' or 'mse'")
    width = forget.hidden.shape[-1]
    direction = rand(width, generator=draw).to(forget.hidden)
    control = steering_coefficient * direction / direction.norm()
    scale = 1.0 if distance == "norm" else 1 / width
    steered = ((forget.hidden - control) ** 2).sum(-1)
    moved = ((retain.hidden - retain.reference.hidden) ** 2).sum(-1)
    return (
        scale * forget.mean_over_tokens(steered),
        alpha * scale * retain.mean_over_tokens(moved),
    )
