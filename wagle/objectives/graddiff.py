"""GradDiff: gradient ascent on the forget answers, descent on the retain answers (paper, section 3; metrics of CE in nats).

-CE_f + lambda * CE_r        CE = mean-token cross-entropy of a row's answer span
"""

FORGET_LABELS = "answer"
NEEDS_REFERENCE = False


def loss(forget, retain, reference, *, retain_weight=1.0):
    """Per-row terms ((B_f,), (B_r,)); the step minimises the mean of each, added up. `retain_weight` is lambda."""
    return -forget.mean, retain_weight * retain.mean
