"""GA: gradient ascent on forget answers, and nothing else (Jang et al. 2023, arXiv 2210.01504).

    -CE_f

CE is the mean-token cross-entropy of a row's answer in nats. Nothing holds the model in place.
"""

FORGET_LABELS = "answer"
NEEDS = ()


def loss(forget, retain):
    """Terms per row, shapes (B_f,) and (B_r,); those of retain rows are 0."""
    return -forget.mean, 0 * retain.mean
