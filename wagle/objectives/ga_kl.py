"""GA+KL: gradient ascent, with predictions on retain texts held (Maini et al. 2024, 2401.06121).

    -CE_f + lambda * mean_t KL(p_ref || p)   over the tokens of retain texts

p_ref is the model before unlearning. As in TOFU, a text is question and answer; each token but the
first counts. The unit is nats.

What departs: open-unlearning averages over padding besides.
"""

FORGET_LABELS = "answer"
NEEDS = ("retain.prompt", "retain.logits", "retain.reference.logits")


def loss(forget, retain, *, retain_weight=1.0):
    """Terms per row, shapes (B_f,) and (B_r,).

    retain_weight: lambda.
    """
    from torch.nn.functional import kl_div, log_softmax

    now, before = (log_softmax(each.logits, -1) for each in (retain, retain.reference))
    divergence = kl_div(now, before, reduction="none", log_target=True).sum(-1)
    return -forget.mean, retain_weight * retain.mean_over_tokens(divergence)
