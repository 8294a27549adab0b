"""Plain fine-tuning: mean-token cross-entropy of the answers.

It makes the target and the retrained model. The rows to learn come as `forget`, the rows that a
step is about; `retain` is empty.
"""

FORGET_LABELS = "answer"
NEEDS = ()


def loss(forget, retain):
    """Terms per row, in nats: shapes (B,) and (0,)."""
    return forget.mean, retain.mean
