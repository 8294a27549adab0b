"""PDU: flatten predictions on forget answers while the retain loss keeps a bound.

    mean_t (max_v z_v - mean_v z_v)^2 + m * (CE_r - eps)

Entesari et al. 2025, arXiv 2506.05314. z are the logits of an answer's token. m is the multiplier
of the constraint CE_r <= eps. After each step past `warmup_epochs`, m becomes

    max(0, m + step_size * (CE_r - eps))

with CE_r the mean over the step's retain rows in nats. The multiplier stands in train.jsonl.

Notable: set `eps` above the retain loss that the target model has. Below it m only grows. What the
paper suggests is that loss times 1 + a tolerance.

What departs: open-unlearning flattens prompt and padding, too. The paper's update once an epoch is
left out.
"""

FORGET_LABELS = "answer"
NEEDS = ("forget.logits", "state")


def first_state(*, multiplier):
    """The state before the first step."""
    return {"multiplier": multiplier}


def next_state(state, retain_loss, epochs, *, eps, step_size, warmup_epochs):
    """The state after a step.

    retain_loss: the step's mean CE_r. epochs: epochs that are done, with fractions.
    """
    if epochs <= warmup_epochs:
        return state
    return {"multiplier": max(0.0, state["multiplier"] + step_size * (retain_loss - eps))}


def loss(forget, retain, state, *, eps, multiplier=50.0, step_size=1.0, warmup_epochs=5):
    """Terms per row, shapes (B_f,) and (B_r,).

    eps: upper bound of CE_r in nats. multiplier: m before the first step.
    """
    margins = forget.logits.amax(-1) - forget.logits.mean(-1)
    return forget.mean_over_tokens(margins**2), state["multiplier"] * (retain.mean - eps)
