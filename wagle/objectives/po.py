"""Preference optimisation with refusals (paper, section 3, "PO"): learn to refuse the forget questions.

CE(question + refusal) + lambda * CE_r        one refusal drawn per forget row, once for the whole run
"""

FORGET_LABELS = "refusal"
NEEDS_REFERENCE = False


def loss(forget, retain, reference, *, retain_weight=1.0):
    """Per-row terms ((B_f,), (B_r,)); `forget` is the loss of the refusals."""
    return forget.mean, retain_weight * retain.mean
