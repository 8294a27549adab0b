"""DPO with a refusal as the better answer: IdkDPO (Rafailov et al. 2023, arXiv 2305.18290, eq. 7).

    -log sigmoid(beta * (r_refusal - r_answer)) + lambda * CE_r,   r = log p(y|x) - log p_ref(y|x)

log p is summed over the answer's tokens. TOFU (2401.06121) and NPO (2404.05868) compare with it.

`form: open-unlearning` multiplies the forget term by 2/beta.
"""

from wagle.errors import WagleError

FORGET_LABELS = "answer"
NEEDS = ("forget.reference", "forget.refusal", "forget.refusal.reference")


def loss(forget, retain, *, beta=0.1, form="paper", retain_weight=1.0):
    """Terms per row, shapes (B_f,) and (B_r,).

    retain_weight: lambda.

    Raises WagleError for another form, or a beta that is not positive.
    """
    from torch.nn.functional import logsigmoid

    if form not in ("paper", "open-unlearning"):
        raise WagleError(f"dpo: form {form!r}", "'paper' or 'open-unlearning'")
    if not beta > 0:
        raise WagleError(f"dpo: beta {beta!r}", "a positive number")
    of_refusal, of_answer = (each.reference.sum - each.sum for each in (forget.refusal, forget))
    scale = 1.0 if form == "paper" else 2 / beta
    return -scale * logsigmoid(beta * (of_refusal - of_answer)), retain_weight * retain.mean
