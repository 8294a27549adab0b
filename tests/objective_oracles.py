"""Every objective's terms once more, written from the formulas with plain Python floats.

Nothing here reads the project. A row is a list of tokens: logits, label, and what else a formula
needs. `frozen` are the same tokens where a formula takes a factor without its gradient; a finite
difference moves the first and leaves the second.
"""

import math
from dataclasses import dataclass, field


@dataclass
class Token:
    """One answer token: logits over the vocabulary, its label, hidden states now and before."""

    logits: list
    label: int
    before: list = field(default_factory=list)
    hidden: list = field(default_factory=list)
    hidden_before: list = field(default_factory=list)


def probabilities(logits):
    total = sum(math.exp(z) for z in logits)
    return [math.exp(z) / total for z in logits]


def nll(logits, label):
    return -math.log(probabilities(logits)[label])


def mean(values):
    return sum(values) / len(values)


def ce(row):
    return mean([nll(t.logits, t.label) for t in row])


def total(row, before=False):
    return sum(nll(t.before if before else t.logits, t.label) for t in row)


def log_sigmoid(x):
    return -math.log(1 + math.exp(-x))


def graddiff(row, frozen):
    return -ce(row)


def po(row, frozen):
    return ce(row)


def npo(row, frozen, beta=0.1):
    x = (total(row) - total(row, before=True)) / len(row)
    return -2 / beta * log_sigmoid(beta * x)


def simnpo(row, frozen, beta=4.5, margin=0.0, weight=0.125):
    return weight * -2 / beta * log_sigmoid(beta * ce(row) - margin)


def wga(row, frozen, beta=1.0):
    pairs = zip(row, frozen, strict=True)
    return -mean(
        [probabilities(f.logits)[f.label] ** beta * nll(t.logits, t.label) for t, f in pairs]
    )


def satimp(row, frozen, beta1=5.0, beta2=1.0):
    terms = []
    for token, at in zip(row, frozen, strict=True):
        p = probabilities(at.logits)[at.label]
        terms.append(p**beta1 * (1 - p) ** beta2 * nll(token.logits, token.label))
    return -mean(terms)


def ceu(row, frozen, skipped=1):
    terms = []
    for token, at in list(zip(row, frozen, strict=True))[skipped:]:
        others = [0 if v == at.label else math.exp(z) for v, z in enumerate(at.logits)]
        target = [x / sum(others) for x in others]
        p = probabilities(token.logits)
        terms.append(-sum(q * math.log(x) for q, x in zip(target, p, strict=True)))
    return mean(terms) if terms else 0.0


def undial(row, frozen, beta=10.0):
    terms = []
    for token in row:
        less = [z - beta * (v == token.label) for v, z in enumerate(token.before)]
        p = probabilities(token.logits)
        pairs = zip(probabilities(less), p, strict=True)
        terms.append(-sum(q * math.log(x) for q, x in pairs))
    return mean(terms)


def ihl(row, frozen):
    terms = []
    for token in row:
        p = probabilities(token.logits)
        terms.append(1 + p[token.label] - max(x for v, x in enumerate(p) if v != token.label))
    return mean(terms)


def pdu(row, frozen):
    return mean([(max(t.logits) - mean(t.logits)) ** 2 for t in row])


def kl(row, frozen):
    """GA+KL's retain term."""
    terms = []
    for token in row:
        pairs = zip(probabilities(token.before), probabilities(token.logits), strict=True)
        terms.append(sum(q * math.log(q / p) for q, p in pairs))
    return mean(terms)


def dpo(row, refusal, beta=0.1):
    answer = total(row, before=True) - total(row)
    better = total(refusal, before=True) - total(refusal)
    return -log_sigmoid(beta * (better - answer))


def steered(row, control):
    """RMU's forget term."""
    return mean([sum((h - u) ** 2 for h, u in zip(t.hidden, control, strict=True)) for t in row])


def moved(row):
    """RMU's retain term without alpha."""
    return mean(
        [sum((a - b) ** 2 for a, b in zip(t.hidden, t.hidden_before, strict=True)) for t in row]
    )
