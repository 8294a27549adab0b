"""Metrics against numpy and scipy written out anew, hand values, and defined answers at the edges."""

import math
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import longest_common
from scipy import stats

from wagle import metrics
from wagle.errors import WagleError

RNG = np.random.default_rng(0)
P, Q = RNG.uniform(0.1, 4, 20), RNG.uniform(0.1, 4, (20, 5))


def test_truth_ratio_variants():
    prob_p, prob_q = np.exp(-P), np.exp(-Q)
    geometric = stats.gmean(prob_q, axis=1)
    close = {"rtol": 1e-12}
    np.testing.assert_allclose(metrics.truth_ratio(P, Q, "wagle"), prob_q.mean(1) / prob_p, **close)
    np.testing.assert_allclose(metrics.truth_ratio(P, Q, "wagle-code"), prob_q.mean(1) / (prob_p + 1e-12), **close)
    np.testing.assert_allclose(metrics.truth_ratio(P, Q, "tofu"), prob_p / geometric, **close)
    np.testing.assert_allclose(metrics.truth_ratio(P, Q, "open-unlearning"), geometric / (prob_p + 1e-10), **close)


def test_code_variant_differs_only_where_probabilities_vanish():
    tiny = np.array([40.0])
    text, code = (metrics.truth_ratio(tiny, [[40.0]], v)[0] for v in ("wagle", "wagle-code"))
    assert text == 1 and code == pytest.approx(math.exp(-40) / (math.exp(-40) + 1e-12))


@pytest.mark.parametrize(
    ("p", "q", "variant"),
    [([], np.zeros((0, 5)), "wagle"), ([1.0], [[np.nan]], "wagle"), ([np.nan], [[1.0]], "tofu"), ([1.0], [[1.0], [2.0]], "wagle"),
     ([1.0], [[1.0]], "x")],
)  # fmt: skip
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
    np.testing.assert_allclose(metrics.truth_ratio_score(1 / r, forget=False, variant="open-unlearning"), [0, 0, 0.75])
    np.testing.assert_allclose(metrics.truth_ratio_score(r, forget=True, variant="open-unlearning"), [0.5, 1, 0.25], rtol=1e-9)
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
    np.testing.assert_allclose(metrics.relative_probability([0.6, 0.0], np.array([[0.2, 0.2], [0.0, 0.0]])), [0.6, 0.0])
    np.testing.assert_allclose(metrics.relative_probability([0.5], np.array([[0.25, 0.25]]), floor=1.0), [0.25])


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
    logp, mean, std = np.array([-1.0, -4.0, -2.0]), np.array([-2.0, -2.0, -2.0]), np.array([1.0, 2.0, 0.0])
    assert metrics.min_k_plus_plus(logp, mean, std, 0.4) == -1.0  # z = 1, -1, 0 (no spread counts as 0)
    assert metrics.min_k_plus_plus(logp, mean, std, 1.0) == 0.0


def test_zlib():
    assert metrics.zlib_ratio(3.0, "abc" * 50) == 3.0 / len(zlib.compress(b"abc" * 50))


def test_auroc_counts_pairs():
    positive, negative = RNG.integers(0, 5, 15).astype(float), RNG.integers(0, 5, 11).astype(float)
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert metrics.auroc(positive, negative) == pytest.approx(np.mean(pairs), rel=1e-12)
    with pytest.raises(WagleError):
        metrics.auroc([], [1.0])


def test_privleak():
    assert metrics.privleak(0.4, 0.5) == pytest.approx(20.0)
    assert metrics.privleak(0.5, 0.5) == 0
    with pytest.raises(WagleError):
        metrics.privleak(0.5, 1.0)


@pytest.mark.parametrize(
    ("hits", "exact", "strength"),
    [([1, 1, 1, 1], 1, 1), ([0, 1, 1, 1], 0.75, 0.75), ([1, 1, 1, 0], 0.75, 0), ([0, 0], 0, 0), ([1], 1, 1),
     ([1, 0, 1, 1], 0.75, 0.5)],
)  # fmt: skip
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
    assert metrics.embedding_accuracy([[0.9, 0.1, 0.2], [0.5, 0.5, 0.1], [0.1, 0.3, 0.2]]).tolist() == [1, 0, 0]
    assert metrics.containment_accuracy(["Paris", "Rome"], ["It is PARIS.", "It is Oslo"]).tolist() == [1, 0]
    for bad in ([[np.nan, 0.1]], [[0.1]]):
        with pytest.raises(WagleError):
            metrics.embedding_accuracy(bad)
