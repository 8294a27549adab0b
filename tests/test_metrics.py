"""Metrics against numpy and scipy written out anew, against hand values, and at the edges."""

import math
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import longest_common
from scipy import stats

from wagle.errors import WagleError
from wagle.evaluation import metrics

RNG = np.random.default_rng(0)
P, Q = RNG.uniform(0.1, 4, 20), RNG.uniform(0.1, 4, (20, 5))


def test_truth_ratio_variants():
    prob_p, prob_q = np.exp(-P), np.exp(-Q)
    geometric = stats.gmean(prob_q, axis=1)
    close = {"rtol": 1e-12}
    np.testing.assert_allclose(metrics.truth_ratio(P, Q, "wagle"), prob_q.mean(1) / prob_p, **close)
    np.testing.assert_allclose(
        metrics.truth_ratio(P, Q, "wagle-code"), prob_q.mean(1) / (prob_p + 1e-12), **close
    )
    np.testing.assert_allclose(metrics.truth_ratio(P, Q, "tofu"), prob_p / geometric, **close)
    np.testing.assert_allclose(
        metrics.truth_ratio(P, Q, "open-unlearning"), geometric / (prob_p + 1e-10), **close
    )


def test_code_variant_differs_only_where_probabilities_vanish():
    tiny = np.array([40.0])
    text, code = (metrics.truth_ratio(tiny, [[40.0]], v)[0] for v in ("wagle", "wagle-code"))
    assert text == 1 and code == pytest.approx(math.exp(-40) / (math.exp(-40) + 1e-12))


@pytest.mark.parametrize(
    ("p", "q", "variant"),
    [
        ([], np.zeros((0, 5)), "wagle"),
        ([1.0], [[np.nan]], "wagle"),
        ([np.nan], [[1.0]], "tofu"),
        ([1.0], [[1.0], [2.0]], "wagle"),
        ([1.0], [[1.0]], "x"),
    ],
)
def test_truth_ratio_refuses(p, q, variant):
    with pytest.raises(WagleError):
        metrics.truth_ratio(p, q, variant)


def ks_p_by_hand(a, b):
    """Largest gap of the empirical distributions, and scipy's exact or asymptotic law for it."""
    grid = np.concatenate([a, b])
    gap = max(abs((a <= x).mean() - (b <= x).mean()) for x in grid)
    return gap, stats.ks_2samp(a, b)


def test_forget_quality_senses_and_inversion():
    a, b = RNG.lognormal(size=30), RNG.lognormal(0.5, size=40)
    gap, reference = ks_p_by_hand(a, b)
    assert reference.statistic == pytest.approx(gap, rel=1e-12)
    assert metrics.forget_quality(a, b, "tofu") == pytest.approx(reference.pvalue, rel=1e-12)
    assert metrics.forget_quality(a, b, "wagle") == pytest.approx(1 - reference.pvalue, rel=1e-12)
    assert metrics.ks_p(1 / a, 1 / b) == pytest.approx(reference.pvalue, rel=1e-9)
    assert metrics.forget_quality(a, a, "tofu") == 1.0
    with pytest.raises(WagleError):
        metrics.forget_quality(a, b, "nobody's")
    with pytest.raises(WagleError):
        metrics.ks_p(a, [])


def test_truth_ratio_score():
    r = np.array([0.5, 1.0, 4.0])
    np.testing.assert_allclose(metrics.truth_ratio_score(r, forget=True), [0.5, 1, 0.25])
    np.testing.assert_allclose(metrics.truth_ratio_score(r, forget=False), [0, 0, 0.75])
    np.testing.assert_allclose(
        metrics.truth_ratio_score(1 / r, forget=False, variant="open-unlearning"), [0, 0, 0.75]
    )
    np.testing.assert_allclose(
        metrics.truth_ratio_score(r, forget=True, variant="open-unlearning"),
        [0.5, 1, 0.25],
        rtol=1e-9,
    )
    assert metrics.truth_ratio_score([0.0, np.inf], forget=True).tolist() == [0, 0]
    with pytest.raises(WagleError):
        metrics.truth_ratio_score([np.nan], forget=True)


def test_model_utility_is_the_harmonic_mean():
    values = RNG.uniform(0.1, 1, 9)
    assert metrics.model_utility(values) == pytest.approx(stats.hmean(values), rel=1e-12)
    assert metrics.model_utility([0.5, 0.0, 1.0]) == 0.0
    for bad in ([], [-0.1, 0.5], [np.nan]):
        with pytest.raises(WagleError):
            metrics.model_utility(bad)


def test_probabilities():
    np.testing.assert_allclose(metrics.probability([0.0, 1.0]), [1, math.exp(-1)])
    np.testing.assert_allclose(
        metrics.relative_probability([0.6, 0.0], np.array([[0.2, 0.2], [0.0, 0.0]])), [0.6, 0.0]
    )
    np.testing.assert_allclose(
        metrics.relative_probability([0.5], np.array([[0.25, 0.25]]), floor=1.0), [0.25]
    )


@given(st.lists(st.floats(-20, 0), min_size=1, max_size=30), st.floats(0.01, 1))
def test_min_k(values, k):
    lowest = sorted(values)[: max(1, int(k * len(values)))]
    assert metrics.min_k(values, k) == pytest.approx(sum(lowest) / len(lowest), abs=1e-9)


def test_min_k_edges():
    assert metrics.min_k([-3.0], 0.5) == -3.0
    for values, k in (([], 0.5), ([-1.0, np.nan], 0.5), ([-1.0], 0.0), ([-1.0], 1.1)):
        with pytest.raises(WagleError):
            metrics.min_k(values, k)


def test_min_k_plus_plus():
    logp, mean, std = (
        np.array([-1.0, -4.0, -2.0]),
        np.array([-2.0, -2.0, -2.0]),
        np.array([1.0, 2.0, 0.0]),
    )
    assert (
        metrics.min_k_plus_plus(logp, mean, std, 0.4) == -1.0
    )  # z = 1, -1, 0 (no spread counts as 0)
    assert metrics.min_k_plus_plus(logp, mean, std, 1.0) == 0.0


def test_loss_attack():
    assert metrics.loss_attack([-1.0, -2.0]) == 1.5
    for bad in ([], [NAN]):
        with pytest.raises(WagleError, match="token log-probabilities"):
            metrics.loss_attack(bad)


def test_zlib():
    assert metrics.zlib_size("é" * 9) == len(zlib.compress("é".encode() * 9))
    assert metrics.zlib_ratio(3.0, "abc" * 50) == 3.0 / len(zlib.compress(b"abc" * 50))


def test_auroc_counts_pairs():
    positive, negative = RNG.integers(0, 5, 15).astype(float), RNG.integers(0, 5, 11).astype(float)
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert metrics.auroc(positive, negative) == pytest.approx(np.mean(pairs), rel=1e-12)
    from sklearn.metrics import roc_auc_score

    labels = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
    assert metrics.auroc(positive, negative) == pytest.approx(
        roc_auc_score(labels, np.r_[positive, negative]), rel=1e-12
    )
    with pytest.raises(WagleError):
        metrics.auroc([], [1.0])


def test_privleak():
    assert metrics.privleak(0.4, 0.5) == pytest.approx(20.0)
    assert metrics.privleak(0.5, 0.5) == 0
    with pytest.raises(WagleError):
        metrics.privleak(0.5, 1.0)


@pytest.mark.parametrize(
    ("hits", "exact", "strength"),
    [
        ([1, 1, 1, 1], 1, 1),
        ([0, 1, 1, 1], 0.75, 0.75),
        ([1, 1, 1, 0], 0.75, 0),
        ([0, 0], 0, 0),
        ([1], 1, 1),
        ([1, 0, 1, 1], 0.75, 0.5),
    ],
)
def test_memorization(hits, exact, strength):
    assert metrics.exact_memorization(hits) == exact
    assert metrics.extraction_strength(hits) == strength
    assert metrics.extraction_strength(hits, no_match=None) == (strength or 1 / len(hits))


def test_empty_answers_have_no_memorization():
    for function in (metrics.exact_memorization, metrics.extraction_strength):
        with pytest.raises(WagleError):
            function([])


def test_rouge_l_recall():
    reference, answer = "the lamp of the town burnt red", "a red lamp burnt in the town"
    expected = longest_common(reference.split(), answer.split()) / len(reference.split())
    assert metrics.rouge_l_recall([reference], [answer])[0] == pytest.approx(expected)
    assert metrics.rouge_l_recall(["running dogs"], ["run dog"])[0] == 1  # stemmed
    assert metrics.rouge_l_recall(["words"], [""])[0] == 0


def test_accuracies():
    assert metrics.embedding_accuracy(
        [[0.9, 0.1, 0.2], [0.5, 0.5, 0.1], [0.1, 0.3, 0.2]]
    ).tolist() == [1, 0, 0]
    assert metrics.containment_accuracy(
        ["Paris", "Rome"], ["It is PARIS.", "It is Oslo"]
    ).tolist() == [1, 0]
    for bad in ([[np.nan, 0.1]], [[0.1]]):
        with pytest.raises(WagleError):
            metrics.embedding_accuracy(bad)


# --- the gaps that mutation testing found ---

NAN = float("nan")
EMPTY = "0 values of shape (0,). Expected: a list of at least 1."
ONE_BAD = "1 values are NaN or Inf. Expected: finite values."
SAMPLES = "sample is empty or has NaN. Expected: one-dimensional samples of numbers."
SENSES = "wagle, wagle-code, tofu or open-unlearning"
MESSAGES = {
    "empty": (lambda: metrics.probability([]), f"loss: {EMPTY}"),
    "nan": (
        lambda: metrics.probability([1.0, NAN, NAN]),
        "loss: 2 values are NaN or Inf. Expected: finite values.",
    ),
    "relative": (lambda: metrics.relative_probability([NAN], [[1.0]]), f"probability: {ONE_BAD}"),
    "paraphrase": (
        lambda: metrics.truth_ratio([NAN], [[1.0]], "tofu"),
        f"paraphrased loss: {ONE_BAD}",
    ),
    "perturbed": (
        lambda: metrics.truth_ratio([1.0], [[1.0], [2.0]], "tofu"),
        "perturbed losses of shape (2, 1). Expected: finite, (1, K) with K >= 1.",
    ),
    "variant": (
        lambda: metrics.truth_ratio([1.0], [[1.0]], "x"),
        f"truth ratio variant 'x'. Expected: {SENSES}.",
    ),
    "ks first": (
        lambda: metrics.ks_p([], [1.0]),
        f"KS test: first {SAMPLES}",
    ),
    "ks second": (
        lambda: metrics.ks_p([1.0], [NAN]),
        f"KS test: second {SAMPLES}",
    ),
    "sense": (
        lambda: metrics.forget_quality([1.0], [1.0], "x"),
        f"forget quality in the sense 'x'. Expected: {SENSES}.",
    ),
    "ratios": (
        lambda: metrics.truth_ratio_score([], True),
        "truth ratios are empty or have NaN. Expected: one number a row.",
    ),
    "negative": (
        lambda: metrics.model_utility([-1.0]),
        "model utility of a negative number. Expected: values in [0, 1].",
    ),
    "utility": (lambda: metrics.model_utility([NAN]), f"model utility: {ONE_BAD}"),
    "min-k": (lambda: metrics.min_k([-1.0], 2), "min-k with k = 2. Expected: a share in (0, 1]."),
    "min-k tokens": (
        lambda: metrics.min_k([], 0.5),
        f"token log-probabilities: {EMPTY}",
    ),
    "min-k++": (
        lambda: metrics.min_k_plus_plus([], [], [], 0.5),
        f"Min-K%++ input: {EMPTY}",
    ),
    "positive": (lambda: metrics.auroc([], [1.0]), f"positive scores: {EMPTY}"),
    "negatives": (lambda: metrics.auroc([1.0], []), f"negative scores: {EMPTY}"),
    "privleak": (
        lambda: metrics.privleak(0.5, 1.0),
        "privleak of AUC 0.5 and 1.0. Expected: AUC in [0, 1], the retrained model's below 1.",
    ),
    "hits": (lambda: metrics.exact_memorization([]), f"argmax hits: {EMPTY}"),
    "strength": (lambda: metrics.extraction_strength([]), f"argmax hits: {EMPTY}"),
    "similarity": (
        lambda: metrics.embedding_accuracy([[1.0]]),
        "similarities: 1 values of shape (1,). Expected: a list of at least 2.",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_errors_say_what_was_found_and_expected(name):
    call, message = MESSAGES[name]
    with pytest.raises(WagleError) as error:
        call()
    assert str(error.value) == message


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_privleak_refuses_what_is_no_auc(value):
    for arguments in ((value, 0.5), (0.5, value)):
        with pytest.raises(WagleError):
            metrics.privleak(*arguments)
    assert (
        metrics.privleak(0, 0) == 0
        and metrics.privleak(1, 0.5) == -100
        and metrics.privleak(0, 0.5) == 100
    )


@pytest.mark.parametrize("sense", ["wagle-code", "open-unlearning"])
def test_forget_quality_of_the_other_senses(sense):
    a, b = RNG.lognormal(size=30), RNG.lognormal(0.8, size=25)
    expected = stats.ks_2samp(a, b).pvalue
    assert metrics.forget_quality(a.tolist(), b.tolist(), sense) == pytest.approx(
        expected, rel=1e-9
    )


def test_forget_quality_of_open_unlearning_takes_the_ratio_itself():
    """Its forget quality never inverts R: ratios far below 1e-10 differ as they do elsewhere."""
    a, b = np.array([1e-30, 1e-29, 1e-28, 1e-27]), np.array([1e-34, 1e-33, 1e-32, 1e-31])
    expected = stats.ks_2samp(a, b).pvalue
    assert metrics.forget_quality(a, b, "open-unlearning") == expected < 0.1
    assert metrics.forget_quality(a, b, "tofu") == expected


def test_low_precision_inputs_are_widened_first():
    p, q = np.float16([1.0, 2.5]), np.float16([[1.5, 3.0], [0.5, 9.0]])
    for variant in ("wagle", "wagle-code", "tofu", "open-unlearning"):
        result = metrics.truth_ratio(p, q, variant)
        expected = metrics.truth_ratio(p.astype(float), q.astype(float), variant)
        assert result.dtype == np.float64 and (result == expected).all()
    assert metrics.truth_ratio_score(np.float16([0.3]), True).dtype == np.float64
    for result in (
        metrics.relative_probability(np.float16([0.3]), np.float16([[0.3]])),
        metrics.probability(np.float16([1.0])),
    ):
        assert result.dtype == np.float64


def test_extremes_stay_defined(recwarn):
    assert metrics.truth_ratio([1e4], [[0.0]], "wagle")[0] == np.inf
    assert metrics.truth_ratio([0.0], [[1e4]], "wagle")[0] == 0
    assert metrics.truth_ratio_score([0.0], False).tolist() == [0.0]
    for _ in range(50):  # zero rows are filled, not left as memory was
        rows = metrics.relative_probability(np.zeros(64), np.zeros((64, 2)))
        assert (rows == 0).all()
        np.full(64, 7.0)
    assert not recwarn.list


def test_embedding_accuracy_of_two_candidates_and_strictness():
    assert metrics.embedding_accuracy([[0.2, 0.1], [0.1, 0.2], [0.3, 0.3]]).tolist() == [
        1.0,
        0.0,
        0.0,
    ]


def test_pairs_must_match():
    for function in (metrics.rouge_l_recall, metrics.containment_accuracy):
        with pytest.raises(ValueError):
            function(["a", "b"], ["a"])


def test_min_k_takes_the_floor_of_the_share():
    values = [-5.0, -4.0, -3.0, -2.0, -1.0]
    assert (
        metrics.min_k(values, 0.5) == -4.5
        and metrics.min_k(values, 0.19) == -5.0
        and metrics.min_k(values, 1) == -3.0
    )
