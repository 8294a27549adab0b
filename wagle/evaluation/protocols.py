"""Named protocols: bundles of switches over the pure metrics, applied to a model's scoring log and
generations.

A protocol is a row of `PROTOCOLS`; its numbers never mix with another's. `evaluate` applies one and
gives each metric's value, standard error and n, and what the statistics engine needs: `rows`, the
values of a mean over rows, or `parts`, a set of rows -> values, whose means add up to the metric
(wagle/evaluation/cell_values.py).

Notable: kept apart from any model, so a changed definition costs seconds. Left out: averaging over
seeds (wagle/reporting/tables.py).
"""

import math
from typing import NamedTuple

import numpy as np

from wagle.errors import WagleError
from wagle.evaluation.metrics import (
    auroc,
    containment_accuracy,
    embedding_accuracy,
    exact_memorization,
    extraction_strength,
    forget_quality,
    loss_attack,
    min_k,
    min_k_plus_plus,
    model_utility,
    privleak,
    probability,
    relative_probability,
    rouge_l_recall,
    truth_ratio,
    truth_ratio_score,
)
from wagle.evaluation.names import BY_ROWS, EFFICACY, SPLITS, UTILITY, UTILITY_SPLITS
from wagle.evaluation.row_parts import auroc_parts, harmonic_parts, ks_parts
from wagle.evaluation.row_statistics import (
    bootstrap,
    bootstrap_together,
    mean_of_rows,
    same_rows,
)
from wagle.evaluation.score_log import Log

PROTOCOLS = {
    "wagle": {
        "truth_ratio": "wagle",
        "question": "paraphrased",
        "span": "answer+eos",
        "rows": None,
        "family": "wagle",
    },
    "wagle-code": {
        "truth_ratio": "wagle-code",
        "question": "paraphrased",
        "span": "last-prompt-token+answer",
        "rows": None,
        "family": "wagle",
    },
    "tofu": {
        "truth_ratio": "tofu",
        "question": "original",
        "span": "answer+eos",
        "rows": 300,
        "family": "tofu",
    },
    "open-unlearning": {
        "truth_ratio": "open-unlearning",
        "question": "original",
        "span": "answer+eos",
        "rows": None,
        "family": "tofu",
    },
}
# The official code's attacked text has no EOS, and a tie of similarities counts as right.
PROTOCOLS["wagle"] |= {"attack_eos": True, "ties": "wrong"}
PROTOCOLS["wagle-code"] |= {"attack_eos": False, "ties": "right"}
PROTOCOLS["wagle-attack-text"] = PROTOCOLS["wagle"] | {"attack_eos": False}  # one habit at a time
PROTOCOLS["wagle-ties"] = PROTOCOLS["wagle"] | {"ties": "right"}


def _parts(of_sets: dict[str, np.ndarray]) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in of_sets.items()}


def _select(generations: list[dict], split: str, asked: str, rows: int | None = None) -> list[dict]:
    chosen = [
        g
        for g in generations
        if g["split"] == split and g["asked"] == asked and (rows is None or g["row"] < rows)
    ]
    if not chosen:
        raise WagleError(
            f"no generated answers for {split} ({asked} question)", "an evaluation of all splits"
        )
    return chosen


def _rouge(chosen: list[dict]) -> np.ndarray:
    return rouge_l_recall([g["answer"] for g in chosen], [g["generated"] for g in chosen])


def _efficacy(log: Log, generations: list[dict], switches: dict) -> dict[str, dict]:
    """FQ, MIA, 1-FA, 1-Rouge-L and their average, and what stands beside them: KS, and the average
    with it in FQ's place.

    Standard errors of FQ, KS, MIA and both averages come from one bootstrap over rows. FQ is a p
    value, which no row has a part of; KS, the largest gap of the same two distributions, has. Where
    a high p is good, 1 - KS takes FQ's place.
    """
    sense, splits = switches["truth_ratio"], ("forget_perturbed", "retain_perturbed")
    losses = [split_losses(log, split, switches) for split in splits]
    ratios = [truth_ratio(found.paraphrased, found.perturbed, sense) for found in losses]
    attack = [
        [
            -min_k(log.attacked(split, row, switches["attack_eos"]), 0.5)
            for row in range(log.number(split, switches["rows"]))
        ]
        for split in splits
    ]
    wrong = 1 - embedding_accuracy(
        [g["similarities"] for g in _select(generations, splits[0], "paraphrased")],
        switches["ties"],
    )
    lost = 1 - _rouge(_select(generations, splits[0], "original"))
    ratio_f, attack_f, wrong, lost = same_rows("forget set", ratios[0], attack[0], wrong, lost)
    ratio_r, attack_r = same_rows("retain set", ratios[1], attack[1])
    gap = ks_parts(ratio_f, ratio_r)
    like_fq = gap if sense == "wagle" else (-gap[0], 1 - gap[1])

    def distance(i, j):
        return sum(part.mean() for part in ks_parts(ratio_f[i], ratio_r[j]))

    def by_rows(i, j):
        d = distance(i, j)
        rest = auroc(attack_f[i], attack_r[j]) + wrong[i].mean() + lost[i].mean()
        return ((d if sense == "wagle" else 1 - d) + rest) / len(EFFICACY)

    sizes = (len(ratio_f), len(ratio_r))
    se = bootstrap_together(
        {
            "FQ": lambda i, j: forget_quality(ratio_f[i], ratio_r[j], sense),
            "MIA": lambda i, j: auroc(attack_f[i], attack_r[j]),
            "1-FA": lambda i, j: wrong[i].mean(),
            "1-Rouge-L": lambda i, j: lost[i].mean(),
        },
        sizes,
    )
    se_by_rows = bootstrap_together({"KS": distance, BY_ROWS: by_rows}, sizes)
    n, places = sum(sizes), auroc_parts(attack_f, attack_r)
    quality = forget_quality(ratio_f, ratio_r, sense)
    result = {
        "FQ": {"value": quality, "se": se["FQ"], "n": n},
        "KS": {
            "value": float(sum(part.mean() for part in gap)),
            "se": se_by_rows["KS"],
            "n": n,
            "parts": _parts(dict(zip(splits, gap, strict=True))),
        },
        "MIA": {
            "value": auroc(attack_f, attack_r),
            "se": se["MIA"],
            "n": n,
            "parts": _parts(dict(zip(splits, places, strict=True))),
        },
        "1-FA": mean_of_rows(wrong),
        "1-Rouge-L": mean_of_rows(lost),
    }
    share = 1 / len(EFFICACY)
    others = {splits[0]: (places[0] + wrong + lost) * share, splits[1]: places[1] * share}
    value = sum(result[name]["value"] for name in EFFICACY) * share
    by_row = {name: others[name] + share * part for name, part in zip(splits, like_fq, strict=True)}
    return result | {
        "UE Avg": {
            "value": value,
            "se": se[""],
            "n": len(ratio_f),
            "parts": {"FQ": [quality * share]} | _parts(others),
        },
        BY_ROWS: {
            "value": float(sum(part.mean() for part in by_row.values())),
            "se": se_by_rows[BY_ROWS],
            "n": len(ratio_f),
            "parts": _parts(by_row),
        },
    }


def wagle_family(log: Log, generations: list[dict], switches: dict) -> dict[str, dict]:
    """The paper's four efficacy numbers, six utilities and both averages, each {value, se, n};
    higher is better.

    Beside them stand KS, UE Avg (KS) and the extraction strength of the forget answers, lower is
    better; no average has it. Accuracy and Rouge-L of a split are of the same rows: UT Avg's
    standard error is that of the rows' own averages.
    """
    result, per_split, parts = _efficacy(log, generations, switches), [], {}
    strength = memorization(log, switches["rows"], 0.0)["extraction strength"]
    result["extraction strength"] = strength
    for split, name in UTILITY_SPLITS.items():
        chosen = _select(generations, split, "original")
        if split == "retain_perturbed":
            right = embedding_accuracy(
                [g["similarities"] for g in _select(generations, split, "paraphrased")],
                switches["ties"],
            )
        else:
            right = containment_accuracy(
                [g["answer"] for g in chosen], [g["generated"] for g in chosen]
            )
        right, rouge = same_rows(split, right, _rouge(chosen))
        result |= {f"{name} Acc": mean_of_rows(right), f"{name} Rouge-L": mean_of_rows(rouge)}
        per_split.append(mean_of_rows((right + rouge) / 2))
        parts[split] = (right + rouge) / len(UTILITY)
    known = [part["se"] for part in per_split if part["se"] is not None]
    se = (
        math.sqrt(sum(x * x for x in known)) / len(per_split)
        if len(known) == len(per_split)
        else None
    )
    value = sum(result[name]["value"] for name in UTILITY) / len(UTILITY)
    return result | {
        "UT Avg": {
            "value": value,
            "se": se,
            "n": min(part["n"] for part in per_split),
            "parts": _parts(parts),
        }
    }


class SplitLosses(NamedTuple):
    """Per-row results of one split.

    Mean losses of answer and paraphrase (n,), of perturbed answers (n, K), Rouge-L (n,).
    """

    answer: np.ndarray
    paraphrased: np.ndarray
    perturbed: np.ndarray
    rouge: np.ndarray | None = None


def split_losses(
    log: Log, split: str, switches: dict, generations: list[dict] | None = None
) -> SplitLosses:
    """One split of a scoring log under a protocol's switches.

    Rows without a paraphrase use the answer itself.
    """
    span, rows = switches["span"], range(log.number(split, switches["rows"]))
    answer, right, wrong = [], [], []
    for row in rows:
        tag = "@paraphrased" if switches["question"] == "paraphrased" else ""
        role = f"paraphrased{tag}"
        if (split, row, role) not in log.texts:
            role, tag = "answer", ""
        answer.append(log.loss(split, row, "answer", span))
        right.append(log.loss(split, row, role, span))
        wrong.append([log.loss(split, row, q, span) for q in log.perturbed(split, row, tag)])
    rouge = (
        None
        if generations is None
        else _rouge(_select(generations, split, "original", switches["rows"]))
    )
    return SplitLosses(np.array(answer), np.array(right), np.array(wrong), rouge)


def tofu_metrics(
    splits: dict[str, SplitLosses], variant: str, reference: SplitLosses | None = None
) -> dict[str, dict]:
    """TOFU's forget quality (needs the retrained model's forget split) and model utility with its
    parts.

    `splits` maps forget, retain, real authors and world facts to their losses; `variant` is tofu or
    open-unlearning. Model utility needs Rouge-L of every split but forget. Each result is {value,
    se, n} and, for means, rows.
    """
    result: dict[str, dict] = {}
    ratios = {
        name: truth_ratio(losses.paraphrased, losses.perturbed, variant)
        for name, losses in splits.items()
    }
    if reference is not None:
        other = truth_ratio(reference.paraphrased, reference.perturbed, variant)
        result["forget quality"] = bootstrap(
            lambda a, b: forget_quality(a, b, variant), ratios["forget"], other
        )
    for name, losses in splits.items():
        p = probability(losses.answer)
        if name in ("real authors", "world facts"):
            floor = 1e-10 if variant == "open-unlearning" else 0.0
            p = relative_probability(p, np.exp(-losses.perturbed), floor)
        result[f"{name} probability"] = mean_of_rows(p)
        if losses.rouge is not None:
            result[f"{name} Rouge-L"] = mean_of_rows(losses.rouge)
        result[f"{name} truth ratio"] = mean_of_rows(
            truth_ratio_score(ratios[name], name == "forget", variant)
        )
    names = [
        f"{n} {m}"
        for n in UTILITY_SPLITS.values()
        for m in ("probability", "Rouge-L", "truth ratio")
    ]
    if all(name in result for name in names):
        rows = [np.array(result[name]["rows"]) for name in names]
        result["model utility"] = bootstrap(
            lambda *samples: model_utility([x.mean() for x in samples]), *rows
        )
        result["model utility"]["parts"] = _parts(_utility_parts(names, rows))
    return result


def _utility_parts(names: list[str], rows: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Model utility's parts by split.

    The three metrics of a split are of the same rows and are added up.
    """
    parts: dict[str, np.ndarray] = {}
    for name, share in zip(names, harmonic_parts(rows), strict=True):
        split = next(split for split in UTILITY_SPLITS.values() if name.startswith(split))
        same = split in parts and len(parts[split]) == len(share)
        parts[split if same or split not in parts else name] = share + (parts[split] if same else 0)
    return parts


def memorization(log: Log, rows: int | None, no_match: float | None) -> dict[str, dict]:
    """Exact memorization and extraction strength of the forget answers, EOS excluded."""
    exact, strength = [], []
    for row in range(log.number("forget_perturbed", rows)):
        text = ("forget_perturbed", row, "answer")
        hits = log.column("argmax_hit", *text)[
            log.column("in_span", *text) & ~log.column("is_eos", *text)
        ]
        exact.append(exact_memorization(hits))
        strength.append(extraction_strength(hits, no_match))
    return {
        "exact memorization": mean_of_rows(exact),
        "extraction strength": mean_of_rows(strength),
    }


def membership_scores(
    log: Log, forget: str = "forget_perturbed"
) -> dict[str, tuple[list[float], list[float]]]:
    """Scores of (holdout rows, rows of split `forget`) under four attacks, up = less likely a
    member.

    Loss and zlib on the answer with EOS, Min-K% and Min-K%++ (k = 0.4) on the answer without.
    """
    scores: dict[str, tuple[list[float], list[float]]] = {}
    for side, split in enumerate(("holdout", forget)):
        for row in range(log.number(split, None)):
            text = (split, row, "answer")
            inside = log.column("in_span", *text)
            answer = inside & ~log.column("is_eos", *text)
            logp, mean, std = (
                log.column(name, *text).astype(np.float64) for name in ("log_prob", "mean", "std")
            )
            loss = loss_attack(logp[inside])
            found = {
                "loss": loss,
                "zlib": loss / int(log.column("answer_zlib", *text)[0]),
                "min-k": -min_k(logp[answer], 0.4),
                "min-k++": -min_k_plus_plus(logp[answer], mean[answer], std[answer], 0.4),
            }
            for name, score in found.items():
                scores.setdefault(name, ([], []))[side].append(score)
    return scores


def membership(
    log: Log, reference: Log | None, forget: str = "forget_perturbed"
) -> dict[str, dict]:
    """AUROC of the four attacks, forget rows (members) labelled 0, holdout rows 1, and privleak
    against the retrained model.

    1: forget rows are told apart as members; 0.5: they look like rows that were never seen.
    privleak is left out where the retrained model's AUROC is 1, by whose distance from 1 it
    divides.
    """
    result = {
        f"MIA {name}": bootstrap(auroc, *pair)
        | {"parts": _parts(dict(zip(("holdout", "forget"), auroc_parts(*pair), strict=True)))}
        for name, pair in membership_scores(log, forget).items()
    }
    if reference is not None:
        auc, retrained = result["MIA min-k"], auroc(*membership_scores(reference, forget)["min-k"])
        if retrained < 1:
            value = privleak(auc["value"], retrained)
            result["privleak"] = {
                "value": value,
                "se": 100 * auc["se"] / (1 - retrained),
                "n": auc["n"],
            }
    return result


def evaluate(
    protocol: str, columns: dict, generations: list[dict], reference: dict | None = None
) -> dict[str, dict]:
    """All metrics of one model under `protocol`: {metric: {value, se, n}}, means also with `rows`,
    their per-row values.

    `reference` is the retrained model's scoring log (TOFU's forget quality). Raises WagleError for
    an unknown protocol.
    """
    if protocol not in PROTOCOLS:
        raise WagleError(f"protocol {protocol!r}", f"one of {', '.join(PROTOCOLS)}")
    switches, log = PROTOCOLS[protocol], Log(columns)
    if switches["family"] == "wagle":
        return wagle_family(log, generations, switches)
    splits = {
        name: split_losses(log, split, switches, generations) for split, name in SPLITS.items()
    }
    other = split_losses(Log(reference), "forget_perturbed", switches) if reference else None
    found = tofu_metrics(splits, switches["truth_ratio"], other)
    found |= memorization(log, switches["rows"], None if protocol == "open-unlearning" else 0.0)
    if protocol == "open-unlearning" and "holdout" in log.rows:
        found |= membership(log, Log(reference) if reference else None)
    return found


def without_rows(result: dict[str, dict]) -> dict[str, dict]:
    """`result` with each metric's value, standard error and n alone."""
    return {
        name: {key: entry[key] for key in ("value", "se", "n")} for name, entry in result.items()
    }


def only_rows(result: dict[str, dict]) -> dict[str, list[float] | dict[str, list[float]]]:
    """Per-row values of the metrics of `result`, a list for a mean, lists by set of rows elsewhere:
    what is compared.
    """
    rows = {name: entry.get("rows", entry.get("parts")) for name, entry in result.items()}
    return {name: values for name, values in rows.items() if values is not None}
