"""Metrics of forget and retain rows alone: no wrong answers, no paraphrases, no other model needed.

Four numbers say how much of a row a model still has, each in [0, 1]:

    Rouge-L               recall of the reference in the generated answer
    probability           exp(-mean loss per token of the answer)
    extraction strength   1 - k/n: from token k on, every token is the model's first choice
                          (arXiv 2407.10058)
    exact memorization    share of the answer's tokens that are the model's first choice

On retain rows high is good. On forget rows 1 - x stands for each, so high is good there too.
UE Avg and UT Avg are plain means of the four, row by row. They weigh memorization by tokens (three
numbers) against what is said in free words (one).

With a retrained model there is forget quality in TOFU's sense: the p value of a two-sample KS test.
TOFU compares truth ratios, which need wrong answers. This compares the rows' mean losses.

Notable: a raw text has no question. The model continues its first half, and Rouge-L compares with
what follows there. The other three numbers are of all its tokens but the first.
"""

import numpy as np

from wagle.evaluation import degeneration
from wagle.evaluation.metrics import (
    exact_memorization,
    extraction_strength,
    ks_p,
    probability,
    rouge_l_recall,
)
from wagle.evaluation.names import DEGENERATE, REMEMBERED
from wagle.evaluation.protocols import membership
from wagle.evaluation.row_parts import ks_parts
from wagle.evaluation.row_statistics import bootstrap, mean_of_rows, perplexity
from wagle.evaluation.score_log import Log


def remembered(log: Log, generations: list[dict], split: str) -> dict[str, np.ndarray]:
    """Each of the four numbers for every row of `split`, shape (rows,)."""
    answers = [entry for entry in generations if entry["split"] == split]
    exact, strength = [], []
    rows = range(log.number(split, None))
    for row in rows:
        text = (split, row, "answer")
        inside = log.column("in_span", *text) & ~log.column("is_eos", *text)
        hits = log.column("argmax_hit", *text)[inside]
        exact.append(exact_memorization(hits))
        strength.append(extraction_strength(hits))
    values = (
        rouge_l_recall([e["answer"] for e in answers], [e["generated"] for e in answers]),
        probability(losses(log, split)),
        np.array(strength),
        np.array(exact),
    )
    return dict(zip(REMEMBERED, values, strict=True))


def losses(log: Log, split: str) -> np.ndarray:
    """Mean loss per token of every row's answer, in nats, shape (rows,)."""
    return np.array([log.loss(split, row, "answer") for row in range(log.number(split, None))])


def metrics(
    columns: dict, generations: list[dict], reference: dict | None = None
) -> dict[str, dict]:
    """{metric: {value, se, n, rows?}} of one model.

    columns: its scoring log, with forget and retain, and perhaps holdout and general.
    generations: its answers to forget and retain rows.
    reference: the retrained model's scoring log.
    """
    log = Log(columns)
    forget = {k: 1 - x for k, x in remembered(log, generations, "forget").items()}
    retain = remembered(log, generations, "retain")
    result = {f"1-{kind}": mean_of_rows(values) for kind, values in forget.items()}
    result |= {f"retain {kind}": mean_of_rows(values) for kind, values in retain.items()}
    for name, values in (("UE Avg", forget), ("UT Avg", retain)):
        result[name] = mean_of_rows(np.mean(list(values.values()), axis=0))
    kept = [entry["generated"] for entry in generations if entry["split"] == "retain"]
    result[DEGENERATE] = degeneration.metric(kept)
    if "general" in log.rows:
        sums = [_sum_and_count(log, row) for row in range(log.number("general", None))]
        result["general PPL"] = perplexity(*np.array(sums, dtype=np.float64).T)
    other = Log(reference) if reference else None
    if other:
        ours, theirs = losses(log, "forget"), losses(other, "forget")
        result["forget quality"] = bootstrap(ks_p, ours, theirs)
        result["KS"] = bootstrap(_ks, ours, theirs)
    if "holdout" in log.rows:
        result |= membership(log, other, forget="forget")
    return result


def _ks(first, second) -> float:
    """The largest gap of the two samples' distributions."""
    return float(sum(part.mean() for part in ks_parts(first, second)))


def _sum_and_count(log: Log, row: int) -> tuple[float, int]:
    """Summed loss and number of tokens of one general text."""
    text = ("general", row, "answer")
    values = log.column("log_prob", *text)[log.column("in_span", *text)].astype(np.float64)
    return -float(values.sum()), len(values)
