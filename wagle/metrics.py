"""Unlearning efficacy and utility as pure functions of the scoring log and the generations; named protocols over them.

Functions take arrays and return floats or arrays; log-probabilities and losses are in nats; probabilities, accuracies and
recalls lie in [0, 1]. Definitions, ranges and sources: docs/metrics.md. A protocol is a row of switches in `PROTOCOLS`;
its numbers never mix with another's. `evaluate` applies one to a model's logs and gives value, standard error and n.

Notable: kept separate from any model, so changing a definition costs seconds. KS and AUROC come from scipy and scikit-learn.
"""

import itertools
import math
import zlib
from collections.abc import Sequence

import numpy as np

from wagle.errors import WagleError


def _finite(name: str, values, least: int = 1) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size < least:
        raise WagleError(f"{name}: {array.size} values of shape {array.shape}", f"a list of at least {least}")
    if not np.isfinite(array).all():
        raise WagleError(f"{name}: {int((~np.isfinite(array)).sum())} values are NaN or Inf", "finite values")
    return array


def probability(losses) -> np.ndarray:
    """P(y|x) = exp(-l), l the mean loss per token. Raises WagleError for NaN."""
    return np.exp(-_finite("loss", losses))


def relative_probability(true: Sequence[float], wrong: np.ndarray) -> np.ndarray:
    """P(y) / (P(y) + sum_k P(q_k)) per row, from probabilities (n,) and (n, K) (TOFU, real authors and world facts)."""
    true, wrong = _finite("probability", true), np.asarray(wrong, dtype=np.float64)
    total = true + wrong.sum(1)
    return np.divide(true, total, out=np.zeros_like(true), where=total > 0)


def truth_ratio(paraphrased, perturbed, variant: str) -> np.ndarray:
    """Truth ratio per row from mean losses of the paraphrased (n,) and the perturbed answers (n, K).

    wagle            mean_k P(q_k) / P(p)
    wagle-code       the same with 1e-12 added to the denominator
    tofu             exp(mean_k l(q_k) - l(p)) = P(p) / geometric mean of P(q_k)
    open-unlearning  geometric mean of P(q_k) / (P(p) + 1e-10), the inverse of tofu's

    Raises WagleError for an unknown variant, NaN, or differing numbers of rows.
    """
    p = _finite("paraphrased loss", paraphrased)
    q = np.asarray(perturbed, dtype=np.float64)
    if q.ndim != 2 or len(q) != len(p) or q.shape[1] < 1 or not np.isfinite(q).all():
        raise WagleError(f"perturbed losses of shape {q.shape}", f"finite, ({len(p)}, K) with K >= 1")
    with np.errstate(over="ignore"):
        if variant == "wagle":
            return np.exp(p[:, None] - q).mean(1)
        if variant == "wagle-code":
            return np.exp(-q).mean(1) / (np.exp(-p) + 1e-12)
        if variant == "tofu":
            return np.exp(q.mean(1) - p)
        if variant == "open-unlearning":
            return np.exp(-q.mean(1)) / (np.exp(-p) + 1e-10)
    raise WagleError(f"truth ratio variant {variant!r}", "wagle, wagle-code, tofu or open-unlearning")


def ks_p(first, second) -> float:
    """p-value of the two-sample Kolmogorov-Smirnov test. Raises WagleError for NaN or an empty sample."""
    from scipy.stats import ks_2samp

    clean = []
    for name, sample in (("first", first), ("second", second)):
        sample = np.asarray(sample, dtype=np.float64)
        if sample.ndim != 1 or not sample.size or np.isnan(sample).any():
            raise WagleError(f"KS test: {name} sample is empty or has NaN", "one-dimensional samples of numbers")
        clean.append(sample)
    return float(ks_2samp(*clean).pvalue)


def forget_quality(forget, other, sense: str) -> float:
    """Forget quality from truth ratios; `other` is the retain set of the same model, or the forget set of the retrained one.

    `wagle`: 1 - p (forget vs retain, same model). `wagle-code`, `tofu`, `open-unlearning`: p.
    """
    p = ks_p(forget, other)
    if sense not in ("wagle", "wagle-code", "tofu", "open-unlearning"):
        raise WagleError(f"forget quality in the sense {sense!r}", "wagle, wagle-code, tofu or open-unlearning")
    return 1 - p if sense == "wagle" else p


def truth_ratio_score(ratio, forget: bool, variant: str = "tofu") -> float:
    """Mean of min(R, 1/R) on the forget set, of max(0, 1 - 1/R) elsewhere, R in the tofu sense (TOFU, section 3)."""
    r = np.asarray(ratio, dtype=np.float64)
    if variant == "open-unlearning":
        with np.errstate(divide="ignore"):
            r = 1 / r
    if r.ndim != 1 or not r.size or np.isnan(r).any():
        raise WagleError("truth ratios are empty or have NaN", "one number a row")
    with np.errstate(divide="ignore"):
        return float(np.minimum(r, 1 / r).mean() if forget else np.maximum(0, 1 - 1 / r).mean())


def model_utility(values) -> float:
    """Harmonic mean; any zero gives 0 (TOFU's model utility, of nine numbers). Raises WagleError for negatives or NaN."""
    values = _finite("model utility", values)
    if (values < 0).any():
        raise WagleError("model utility of a negative number", "values in [0, 1]")
    return 0.0 if (values == 0).any() else float(len(values) / (1 / values).sum())


def rouge_l_recall(references: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """Rouge-L recall of each answer, stemmed (rouge_score); an empty answer gives 0."""
    from rouge_score import rouge_scorer

    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
    return np.array([scorer.score(r, a)["rougeL"].recall for r, a in zip(references, answers, strict=True)])


def min_k(log_probs, k: float) -> float:
    """Mean of the lowest share `k` of token log-probabilities, at least one token (Min-K% Prob, arXiv 2310.16789).

    Score up = more likely a member. Raises WagleError for an empty text, NaN, or k outside (0, 1].
    """
    values = _finite("token log-probabilities", log_probs)
    if not 0 < k <= 1:
        raise WagleError(f"min-k with k = {k!r}", "a share in (0, 1]")
    return float(np.sort(values)[: max(1, int(k * len(values)))].mean())


def min_k_plus_plus(log_probs, mean, std, k: float) -> float:
    """Min-k of (log p - mean) / std, standardised over the vocabulary (Min-K%++, arXiv 2404.02936); std 0 counts as 0."""
    values, mean, std = (_finite("Min-K%++ input", x) for x in (log_probs, mean, std))
    z = np.divide(values - mean, std, out=np.zeros_like(values), where=std > 0)
    return min_k(z, k)


def zlib_ratio(loss: float, text: str) -> float:
    """Mean loss over the compressed size of the answer in bytes."""
    return float(loss) / len(zlib.compress(text.encode("utf-8")))


def auroc(positive, negative) -> float:
    """Area under the ROC curve: chance that a positive scores above a negative, ties half. Raises WagleError if one is empty."""
    from sklearn.metrics import roc_auc_score

    positive, negative = _finite("positive scores", positive), _finite("negative scores", negative)
    labels = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
    return float(roc_auc_score(labels, np.r_[positive, negative]))


def privleak(auc: float, auc_retrained: float) -> float:
    """100 * ((1 - AUC) - (1 - AUC_retrained)) / (1 - AUC_retrained) (MUSE). Raises WagleError when AUC_retrained is 1."""
    if not (0 <= auc <= 1 and 0 <= auc_retrained < 1):
        raise WagleError(f"privleak of AUC {auc} and {auc_retrained}", "AUC in [0, 1], the retrained model's below 1")
    return 100 * ((1 - auc) - (1 - auc_retrained)) / (1 - auc_retrained)


def exact_memorization(hits) -> float:
    """Share of answer positions, EOS excluded, where the most likely token is the answer's. Raises WagleError if empty."""
    return float(_finite("argmax hits", hits).mean())


def extraction_strength(hits, no_match: float | None = 0.0) -> float:
    """1 - k/n, k the smallest start from which every later position is hit; none: `no_match` (None: 1/n)."""
    hits = _finite("argmax hits", hits).astype(bool)
    misses = np.flatnonzero(~hits)
    start = misses[-1] + 1 if misses.size else 0
    if start == len(hits):
        return 1 / len(hits) if no_match is None else float(no_match)
    return 1 - start / len(hits)


def embedding_accuracy(similarities: Sequence[Sequence[float]]) -> np.ndarray:
    """1 where candidate 0 (the paraphrased answer) is strictly the most similar one, else 0; chance is 1/len. NaN raises."""
    result = []
    for row in similarities:
        row = _finite("similarities", row, least=2)
        result.append(float(row[0] > row[1:].max()))
    return np.array(result)


def containment_accuracy(references: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """1 where the gold answer occurs literally in the generated one, letter case aside."""
    return np.array([float(r.lower() in a.lower()) for r, a in zip(references, answers, strict=True)])


# --- protocols ---------------------------------------------------------------------------------------------------------

PROTOCOLS = {
    "wagle": {"truth_ratio": "wagle", "question": "paraphrased", "span": "answer+eos", "rows": None, "family": "wagle"},
    "wagle-code": {
        "truth_ratio": "wagle-code", "question": "paraphrased", "span": "last-prompt-token+answer", "rows": None,
        "family": "wagle",
    },
    "tofu": {"truth_ratio": "tofu", "question": "original", "span": "answer+eos", "rows": 300, "family": "tofu"},
    "open-unlearning": {
        "truth_ratio": "open-unlearning", "question": "original", "span": "answer+eos", "rows": None, "family": "tofu",
    },
}  # fmt: skip
EFFICACY = ("FQ", "MIA", "1-FA", "1-Rouge-L")
UTILITY = tuple(f"{split} {metric}" for split in ("retain", "real authors", "world facts") for metric in ("Acc", "Rouge-L"))
SPLIT_NAMES = {"retain_perturbed": "retain", "real_authors": "real authors", "world_facts": "world facts"}


class Log:
    """A scoring log by text: `texts[(split, row, role)]` -> the text's slice of each column."""

    def __init__(self, columns: dict[str, np.ndarray]):
        self.columns = columns
        key = list(zip(columns["split"], columns["row"].tolist(), columns["role"], strict=True))
        starts = [0, *[i for i in range(1, len(key)) if key[i] != key[i - 1]], len(key)]
        self.texts = {key[a]: slice(a, b) for a, b in itertools.pairwise(starts) if b > a}
        self.rows: dict[str, int] = {}
        for split, row, _ in self.texts:
            self.rows[split] = max(self.rows.get(split, 0), row + 1)

    def column(self, name: str, split: str, row: int, role: str) -> np.ndarray:
        try:
            return self.columns[name][self.texts[split, row, role]]
        except KeyError:
            raise WagleError(f"the log has no {role!r} of {split} row {row}", "a log scored for this protocol") from None

    def in_span(self, split: str, row: int, role: str, span: str) -> np.ndarray:
        inside = self.column("in_span", split, row, role)
        if span == "answer+eos":
            return inside
        flags = inside & ~self.column("is_eos", split, row, role)
        first = int(np.argmax(inside))
        if first > 0:
            flags = flags.copy()
            flags[first - 1] = True  # the last prompt token
        return flags

    def loss(self, split: str, row: int, role: str, span: str = "answer+eos") -> float:
        """Mean loss over the span in nats. Raises WagleError for an empty span."""
        values = self.column("log_prob", split, row, role)[self.in_span(split, row, role, span)]
        return -float(_finite(f"answer span of {split} row {row}", values.astype(np.float64)).mean())

    def number(self, split: str, limit: int | None) -> int:
        if split not in self.rows:
            raise WagleError(f"the log has no split {split!r}; it has {', '.join(self.rows)}")
        return min(self.rows[split], limit or self.rows[split])

    def perturbed(self, split: str, row: int, tag: str) -> list[str]:
        roles, k = [], 0
        while (split, row, f"perturbed{k}{tag}") in self.texts:
            roles.append(f"perturbed{k}{tag}")
            k += 1
        return roles


def truth_ratios(log: Log, split: str, switches: dict) -> np.ndarray:
    """R of every row of `split` under a protocol's switches. Rows without a paraphrase use the answer itself."""
    span, result = switches["span"], []
    for row in range(log.number(split, switches["rows"])):
        tag = "@paraphrased" if switches["question"] == "paraphrased" else ""
        right = f"paraphrased{tag}"
        if (split, row, right) not in log.texts:
            right, tag = "answer", ""
        wrong = log.perturbed(split, row, tag)
        losses = [log.loss(split, row, role, span) for role in wrong]
        result.append(truth_ratio([log.loss(split, row, right, span)], [losses], switches["truth_ratio"])[0])
    return np.array(result)


def _mean(values) -> dict:
    values = _finite("per-row values", values)
    se = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    return {"value": float(values.mean()), "se": se, "n": len(values)}


def _bootstrap(statistic, first, second, draws: int = 200) -> dict:
    """Value, bootstrap standard error over rows (fixed seed) and n of a statistic of two samples."""
    rng = np.random.default_rng(0)
    first, second = np.asarray(first), np.asarray(second)
    values = [
        statistic(first[rng.integers(len(first), size=len(first))], second[rng.integers(len(second), size=len(second))])
        for _ in range(draws)
    ]
    return {"value": statistic(first, second), "se": float(np.std(values, ddof=1)), "n": len(first) + len(second)}


def _select(generations: list[dict], split: str, asked: str, rows: int | None = None) -> list[dict]:
    chosen = [g for g in generations if g["split"] == split and g["asked"] == asked and (rows is None or g["row"] < rows)]
    if not chosen:
        raise WagleError(f"no generated answers for {split} ({asked} question)", "an evaluation of all splits")
    return chosen


def _rouge(chosen: list[dict]) -> np.ndarray:
    return rouge_l_recall([g["answer"] for g in chosen], [g["generated"] for g in chosen])


def _average(parts: list[dict]) -> dict:
    known = [p["se"] for p in parts if p["se"] is not None]
    se = math.sqrt(sum(x * x for x in known)) / len(parts) if len(known) == len(parts) else None
    return {"value": sum(p["value"] for p in parts) / len(parts), "se": se, "n": min(p["n"] for p in parts)}


def wagle_family(log: Log, generations: list[dict], switches: dict) -> dict[str, dict]:
    """The paper's four efficacy numbers, six utilities and both averages, each {value, se, n}; higher is better."""
    sense = switches["truth_ratio"]
    ratios = {split: truth_ratios(log, split, switches) for split in ("forget_perturbed", "retain_perturbed")}
    result = {"FQ": _bootstrap(lambda a, b: forget_quality(a, b, sense), ratios["forget_perturbed"], ratios["retain_perturbed"])}
    scores = {
        split: [-min_k(log.column("log_prob", split, row, "answer"), 0.5) for row in range(log.number(split, switches["rows"]))]
        for split in ratios
    }
    result["MIA"] = _bootstrap(auroc, scores["forget_perturbed"], scores["retain_perturbed"])
    correct = embedding_accuracy([g["similarities"] for g in _select(generations, "forget_perturbed", "paraphrased")])
    result["1-FA"] = _mean(1 - correct)
    result["1-Rouge-L"] = _mean(1 - _rouge(_select(generations, "forget_perturbed", "original")))
    result["UE Avg"] = _average([result[name] for name in EFFICACY])
    kept = embedding_accuracy([g["similarities"] for g in _select(generations, "retain_perturbed", "paraphrased")])
    result["retain Acc"] = _mean(kept)
    for split, name in SPLIT_NAMES.items():
        chosen = _select(generations, split, "original")
        if split != "retain_perturbed":
            found = containment_accuracy([g["answer"] for g in chosen], [g["generated"] for g in chosen])
            result[f"{name} Acc"] = _mean(found)
        result[f"{name} Rouge-L"] = _mean(_rouge(chosen))
    result["UT Avg"] = _average([result[name] for name in UTILITY])
    return result


def tofu_family(log: Log, generations: list[dict], switches: dict, reference: Log | None) -> dict[str, dict]:
    """TOFU's forget quality (needs the retrained model's log) and model utility with its nine parts, each {value, se, n}."""
    variant, span, rows = switches["truth_ratio"], switches["span"], switches["rows"]
    result: dict[str, dict] = {}
    forget = truth_ratios(log, "forget_perturbed", switches)
    if reference is not None:
        other = truth_ratios(reference, "forget_perturbed", switches)
        result["forget quality"] = _bootstrap(lambda a, b: forget_quality(a, b, variant), forget, other)
    for split, name in {"forget_perturbed": "forget", **SPLIT_NAMES}.items():
        number = range(log.number(split, rows))
        p = probability([log.loss(split, row, "answer", span) for row in number])
        if split in ("real_authors", "world_facts"):
            wrong = np.array([[math.exp(-log.loss(split, r, q, span)) for q in log.perturbed(split, r, "")] for r in number])
            p = relative_probability(p, wrong)
        result[f"{name} probability"] = _mean(p)
        result[f"{name} Rouge-L"] = _mean(_rouge(_select(generations, split, "original", rows)))
        r = forget if name == "forget" else truth_ratios(log, split, switches)
        per_row = [truth_ratio_score([x], name == "forget", variant) for x in r]
        result[f"{name} truth ratio"] = _mean(per_row)
    parts = [result[f"{n} {m}"] for n in SPLIT_NAMES.values() for m in ("probability", "Rouge-L", "truth ratio")]
    utility = {"value": model_utility([part["value"] for part in parts]), "se": None, "n": sum(part["n"] for part in parts)}
    return result | {"model utility": utility} | memorization(log, rows)


def memorization(log: Log, rows: int | None) -> dict[str, dict]:
    """Exact memorization and extraction strength of the forget answers, EOS excluded."""
    exact, strength = [], []
    for row in range(log.number("forget_perturbed", rows)):
        text = ("forget_perturbed", row, "answer")
        hits = log.column("argmax_hit", *text)[log.column("in_span", *text) & ~log.column("is_eos", *text)]
        exact.append(exact_memorization(hits))
        strength.append(extraction_strength(hits))
    return {"exact memorization": _mean(exact), "extraction strength": _mean(strength)}


def evaluate(protocol: str, columns: dict, generations: list[dict], reference: dict | None = None) -> dict[str, dict]:
    """All metrics of one model under `protocol`: {metric: {value, se, n}}. Raises WagleError for an unknown protocol."""
    if protocol not in PROTOCOLS:
        raise WagleError(f"protocol {protocol!r}", f"one of {', '.join(PROTOCOLS)}")
    switches = PROTOCOLS[protocol]
    if switches["family"] == "wagle":
        return wagle_family(Log(columns), generations, switches)
    return tofu_family(Log(columns), generations, switches, Log(reference) if reference else None)
