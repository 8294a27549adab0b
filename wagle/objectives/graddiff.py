"""GradDiff: gradient ascent on forget answers, descent on retain answers (paper, section 3).

    -CE_f + lambda * CE_r

CE is the mean-token cross-entropy of a row's answer in nats.
"""

FORGET_LABELS = "answer"
NEEDS = ()


def loss(forget, retain, *, retain_weight=1.0):
    """Terms per row, shapes (B_f,) and (B_r,); a step minimises the mean of each, added up.

    retain_weight: lambda.
    """
    return -forget.mean, retain_weight * retain.mean
