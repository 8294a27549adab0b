"""IHL, the inverted hinge loss of LoKU (Cha et al. 2025, arXiv 2408.06621).

    mean_t [ 1 + p(y_t) - max_{v != y_t} p(v) ] + lambda * CE_r

It lowers the true token and raises the next likely one. The hinge is never active: the bracket is
at least 0.

What departs: LoKU starts its LoRA adapters from Fisher information. Here they start as all others.
"""

FORGET_LABELS = "answer"
NEEDS = ("forget.logits",)


def loss(forget, retain, *, average="row", retain_weight=1.0):
    """Terms per row, shapes (B_f,) and (B_r,).

    average: as in wga.py. retain_weight: lambda.

    Raises WagleError for another average.
    """
    p, labels = forget.logits.softmax(-1), forget.labels[:, None]
    true = p.gather(-1, labels).squeeze(-1)
    others = p.scatter(-1, labels, 0).amax(-1)
    return forget.average(1 + true - others, average), retain_weight * retain.mean
