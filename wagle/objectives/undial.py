"""UNDIAL: learn one's own earlier predictions, less the true token (Dong et al. 2025, 2402.10052).

    mean_t CE(softmax(z_ref - beta * onehot(y_t)), softmax(z)) + lambda * CE_r

z_ref are the logits of the model before unlearning. The paper has no retain term (lambda 0).

What departs: open-unlearning averages over prompt and padding besides, and subtracts beta at
another token there. That loss depends on how rows are padded, so it is no option here.
"""

FORGET_LABELS = "answer"
NEEDS = ("forget.logits", "forget.reference.logits")


def loss(forget, retain, *, beta=10.0, average="row", retain_weight=0.0):
    """Terms per row, shapes (B_f,) and (B_r,).

    average: as in wga.py. retain_weight: lambda.

    Raises WagleError for another average.
    """
    from torch import full_like
    from torch.nn.functional import cross_entropy

    labels, before = forget.labels[:, None], forget.reference.logits
    less = full_like(before[:, :1], -beta)
    targets = before.scatter_add(-1, labels, less).softmax(-1)
    terms = cross_entropy(forget.logits, targets, reduction="none")
    return forget.average(terms, average), retain_weight * retain.mean
