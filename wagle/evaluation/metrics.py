"""Unlearning efficacy and utility as pure functions of arrays.

Log-probabilities and losses are in nats; probabilities, accuracies and recalls lie in [0, 1].
docs/metrics.md has definitions, ranges and sources. A protocol says which variant a number uses
(wagle/evaluation/protocols.py).

Notable: KS comes from scipy, Rouge-L from rouge_score; AUROC is counted here, which is fast
enough for a bootstrap. Left out: models and files.
"""

import zlib
from collections.abc import Sequence

import numpy as np

from wagle.errors import WagleError


def finite(name: str, values, least: int = 1) -> np.ndarray:
    """`values` as a one-dimensional float64 array with at least `least` entries.

    Raises WagleError for any other shape, for fewer values, and for NaN or Inf.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size < least:
        raise WagleError(
            f"{name}: {array.size} values of shape {array.shape}", f"a list of at least {least}"
        )
    if not np.isfinite(array).all():
        raise WagleError(
            f"{name}: {int((~np.isfinite(array)).sum())} values are NaN or Inf", "finite values"
        )
    return array


def probability(losses) -> np.ndarray:
    """P(y|x) = exp(-l), l the mean loss per token. Raises WagleError for NaN."""
    return np.exp(-finite("loss", losses))


def relative_probability(
    true: Sequence[float], perturbed: np.ndarray, floor: float = 0.0
) -> np.ndarray:
    """P(y) / (P(y) + sum_k P(q_k) + floor) per row, 0 where all are 0.

    `true` (n,) and `perturbed` (n, K) are probabilities. Source: TOFU, for real authors and world
    facts; open-unlearning has a floor of 1e-10.
    """
    true, perturbed = finite("probability", true), np.asarray(perturbed, dtype=np.float64)
    total = true + perturbed.sum(1) + floor
    return np.divide(true, total, out=np.zeros_like(true), where=total > 0)


def truth_ratio(paraphrased, perturbed, variant: str) -> np.ndarray:
    """Truth ratio per row from mean losses of paraphrased (n,) and perturbed answers (n, K).

    wagle            mean_k P(q_k) / P(p)
    wagle-code       the same with 1e-12 added to the denominator
    tofu             exp(mean_k l(q_k) - l(p)) = P(p) / geometric mean of P(q_k)
    open-unlearning  geometric mean of P(q_k) / (P(p) + 1e-10), the inverse of tofu's

    Raises WagleError for an unknown variant, NaN, or differing numbers of rows.
    """
    p = finite("paraphrased loss", paraphrased)
    q = np.asarray(perturbed, dtype=np.float64)
    if q.ndim != 2 or len(q) != len(p) or q.shape[1] < 1 or not np.isfinite(q).all():
        raise WagleError(
            f"perturbed losses of shape {q.shape}", f"finite, ({len(p)}, K) with K >= 1"
        )
    with np.errstate(over="ignore"):
        if variant == "wagle":
            return np.exp(p[:, None] - q).mean(1)
        if variant == "wagle-code":
            return np.exp(-q).mean(1) / (np.exp(-p) + 1e-12)
        if variant == "tofu":
            return np.exp(q.mean(1) - p)
        if variant == "open-unlearning":
            return np.exp(-q.mean(1)) / (np.exp(-p) + 1e-10)
    raise WagleError(
        f"truth ratio variant {variant!r}", "wagle, wagle-code, tofu or open-unlearning"
    )


def ks_p(first, second) -> float:
    """p-value of the two-sample Kolmogorov-Smirnov test.

    Raises WagleError for NaN or an empty sample.
    """
    from scipy.stats import ks_2samp

    samples = []
    for name, sample in (("first", first), ("second", second)):
        sample = np.asarray(sample, dtype=np.float64)
        if sample.ndim != 1 or not sample.size or np.isnan(sample).any():
            raise WagleError(
                f"KS test: {name} sample is empty or has NaN", "one-dimensional samples of numbers"
            )
        samples.append(sample)
    return float(ks_2samp(*samples).pvalue)


def forget_quality(forget, other, sense: str) -> float:
    """Forget quality from truth ratios.

    `other` is the retain set of the same model, or the forget set of the retrained one.
    `wagle`: 1 - p (forget vs retain, same model). `wagle-code`, `tofu`, `open-unlearning`: p.
    open-unlearning compares R itself; the p-value is the same for 1/R.
    """
    p = ks_p(forget, other)
    if sense not in ("wagle", "wagle-code", "tofu", "open-unlearning"):
        raise WagleError(
            f"forget quality in the sense {sense!r}", "wagle, wagle-code, tofu or open-unlearning"
        )
    return 1 - p if sense == "wagle" else p


def truth_ratio_score(ratio, forget: bool, variant: str = "tofu") -> np.ndarray:
    """Score of each row's truth ratio R in the tofu sense (TOFU, section 3).

    It is min(R, 1/R) on the forget set and max(0, 1 - 1/R) elsewhere. For `open-unlearning` R is
    inverted: elsewhere it is max(0, 1 - R), and 1e-10 is added to the denominator of 1/R.
    Raises WagleError for NaN or no rows.
    """
    r = np.asarray(ratio, dtype=np.float64)
    if r.ndim != 1 or not r.size or np.isnan(r).any():
        raise WagleError("truth ratios are empty or have NaN", "one number a row")
    with np.errstate(divide="ignore"):
        if variant == "open-unlearning":
            return np.minimum(r, 1 / (r + 1e-10)) if forget else np.maximum(0, 1 - r)
        return np.minimum(r, 1 / r) if forget else np.maximum(0, 1 - 1 / r)


def model_utility(values) -> float:
    """Harmonic mean of `values`; any zero gives 0. TOFU's model utility has nine values.

    Raises WagleError for negative values or NaN.
    """
    values = finite("model utility", values)
    if (values < 0).any():
        raise WagleError("model utility of a negative number", "values in [0, 1]")
    return 0.0 if (values == 0).any() else float(len(values) / (1 / values).sum())


def rouge_l_recall(references: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """Rouge-L recall of each answer, stemmed (rouge_score); an empty answer gives 0."""
    from rouge_score import rouge_scorer

    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
    return np.array(
        [scorer.score(r, a)["rougeL"].recall for r, a in zip(references, answers, strict=True)]
    )


def min_k(log_probs, k: float) -> float:
    """Mean of the lowest share `k` of token log-probabilities (Min-K% Prob, arXiv 2310.16789).

    At least one token counts. A higher score means more likely a member.
    Raises WagleError for an empty text, NaN, or k outside (0, 1].
    """
    values = finite("token log-probabilities", log_probs)
    if not 0 < k <= 1:
        raise WagleError(f"min-k with k = {k!r}", "a share in (0, 1]")
    return float(np.sort(values)[: max(1, int(k * len(values)))].mean())


def min_k_plus_plus(log_probs, mean, std, k: float) -> float:
    """Min-k of (log p - mean) / std, standardised over the vocabulary (Min-K%++, arXiv 2404.02936).

    A token whose std is 0 counts as 0. Raises WagleError as `min_k` does.
    """
    values, mean, std = (finite("Min-K%++ input", x) for x in (log_probs, mean, std))
    z = np.divide(values - mean, std, out=np.zeros_like(values), where=std > 0)
    return min_k(z, k)


def loss_attack(log_probs) -> float:
    """Mean loss of the tokens; a higher value means less likely a member.

    Raises WagleError for an empty text or NaN.
    """
    return -float(finite("token log-probabilities", log_probs).mean())


def zlib_size(text: str) -> int:
    """Size of the text in bytes after zlib's default compression, a proxy of its information."""
    return len(zlib.compress(text.encode("utf-8")))


def zlib_ratio(loss: float, text: str) -> float:
    """Mean loss over the compressed size of the answer (arXiv 2012.07805).

    A higher value means less likely a member.
    """
    return float(loss) / zlib_size(text)


def auroc(positive, negative) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties half.

    It is counted with a sort. scikit-learn's checks of its arguments cost a hundred times as much,
    and a bootstrap computes it 200 times. Raises WagleError if a sample is empty.
    """
    positive = finite("positive scores", positive)
    negative = np.sort(finite("negative scores", negative))
    below, up_to = (np.searchsorted(negative, positive, side).sum() for side in ("left", "right"))
    return float(below + up_to) / (2 * len(positive) * len(negative))


def privleak(auc: float, auc_retrained: float) -> float:
    """100 * ((1 - AUC) - (1 - AUC_retrained)) / (1 - AUC_retrained) (MUSE, arXiv 2407.06460).

    Raises WagleError for an AUC outside [0, 1], or an AUC_retrained of 1.
    """
    if not (0 <= auc <= 1 and 0 <= auc_retrained < 1):
        raise WagleError(
            f"privleak of AUC {auc} and {auc_retrained}",
            "AUC in [0, 1], the retrained model's below 1",
        )
    return 100 * ((1 - auc) - (1 - auc_retrained)) / (1 - auc_retrained)


def exact_memorization(hits) -> float:
    """Share of answer positions, EOS excluded, where the most likely token is the answer's.

    Raises WagleError if there are none.
    """
    return float(finite("argmax hits", hits).mean())


def extraction_strength(hits, no_match: float | None = 0.0) -> float:
    """1 - k/n, where k is the smallest position from which on every position is a hit.

    Without such a position the result is `no_match`; None stands for 1/n.
    """
    hits = finite("argmax hits", hits).astype(bool)
    misses = np.flatnonzero(~hits)
    start = misses[-1] + 1 if misses.size else 0
    if start == len(hits):
        return 1 / len(hits) if no_match is None else float(no_match)
    return 1 - start / len(hits)


def embedding_accuracy(similarities: Sequence[Sequence[float]], ties: str = "wrong") -> np.ndarray:
    """1 where candidate 0, the paraphrased answer, is the most similar one, else 0.

    `similarities` has one list of candidates per row. A tie with another candidate counts as
    `ties` says, wrong or right. Raises WagleError for NaN, or for fewer than two candidates.
    """
    result = []
    for row in similarities:
        row = finite("similarities", row, least=2)
        best = row[1:].max()
        result.append(float(row[0] > best or (ties == "right" and row[0] == best)))
    return np.array(result)


def containment_accuracy(references: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """1 where the reference occurs literally in the generated answer, letter case aside, else 0."""
    return np.array(
        [float(r.lower() in a.lower()) for r, a in zip(references, answers, strict=True)]
    )
