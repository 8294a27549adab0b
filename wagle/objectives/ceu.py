"""CE-U: learn the prediction that leaves the true token out (Yang 2025, arXiv 2503.01224).

    mean_t CE(q_t, p_t),   q = softmax(z with the true token's logit at -inf), without a gradient

p = softmax(z) is the model's prediction. The first answer token is left out (the paper's footnote
on training). There is no retain term.

Notable: the loss is -log(1 - p_t) plus the entropy of q. So it is bounded below, and its gradient
vanishes when the true token is forgotten.
"""

FORGET_LABELS = "answer"
NEEDS = ("forget.logits",)


def loss(forget, retain, *, skipped_tokens=1, retain_weight=0.0):
    """Terms per row, shapes (B_f,) and (B_r,).

    skipped_tokens: so many tokens at an answer's beginning do not count. An answer of no more
        tokens has the term 0.
    retain_weight: of a retain term, which the paper does not have.
    """
    from torch.nn.functional import cross_entropy

    labels = forget.labels[:, None]
    others = forget.logits.detach().scatter(-1, labels, float("-inf")).softmax(-1)
    terms = cross_entropy(forget.logits, others, reduction="none")
    counted = forget.numbers_in_row() >= skipped_tokens
    return forget.mean_over_tokens(terms, counted), retain_weight * retain.mean
