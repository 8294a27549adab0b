"""PO, preference optimization with refusals (paper, section 3): learn to refuse forget questions.

    CE(question + refusal) + lambda * CE_r

CE is the mean-token cross-entropy in nats. One refusal per forget row is sampled for the whole run.
"""

FORGET_LABELS = "refusal"
NEEDS = ()


def loss(forget, retain, *, retain_weight=1.0):
    """Terms per row, shapes (B_f,) and (B_r,).

    forget: the losses of the refusals. retain_weight: lambda.
    """
    return forget.mean, retain_weight * retain.mean
