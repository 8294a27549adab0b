"""Metrics against numpy and scipy written out anew, hand values, and defined answers at the edges."""

import math
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
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
    assert metrics.truth_ratio_score(r, forget=True) == pytest.approx((0.5 + 1 + 0.25) / 3)
    assert metrics.truth_ratio_score(r, forget=False) == pytest.approx((0 + 0 + 0.75) / 3)
    assert metrics.truth_ratio_score(1 / r, forget=False, variant="open-unlearning") == pytest.approx(0.25)
    assert metrics.truth_ratio_score([0.0, np.inf], forget=True) == 0.0


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


def longest_common(a, b):
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1, j + 1] = table[i, j] + 1 if x == y else max(table[i, j + 1], table[i + 1, j])
    return table[-1, -1]


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


# --- protocols on a made-up log ------------------------------------------------------------------------------------------

SPLITS = {"forget_perturbed": (6, 5), "retain_perturbed": (7, 5), "real_authors": (4, 3), "world_facts": (5, 3)}


def make_log(seed=0):
    """A log of random log-probabilities: three prompt tokens, four answer tokens, EOS."""
    rng, columns = (
        np.random.default_rng(seed),
        {k: [] for k in ("split", "row", "role", "log_prob", "argmax_hit", "in_span", "is_eos")},
    )
    for split, (rows, k) in SPLITS.items():
        perturbed = [f"perturbed{i}" for i in range(k)]
        roles = ["answer", *perturbed]
        if k == 5:
            roles = ["answer", "paraphrased", *perturbed, "paraphrased@paraphrased", *[f"{p}@paraphrased" for p in perturbed]]
        for row in range(rows):
            for role in roles:
                n = 8
                values = (split, row, role, None, None, None, None)
                for name, value in zip(columns, values, strict=True):
                    columns[name] += [value] * n
                columns["log_prob"][-n:] = (-rng.exponential(1.5, n)).astype(np.float32).tolist()
                columns["argmax_hit"][-n:] = (rng.random(n) < 0.6).tolist()
                columns["in_span"][-n:] = [False] * 3 + [True] * 5
                columns["is_eos"][-n:] = [False] * 7 + [True]
    kinds = {"split": object, "role": object, "row": np.int32, "log_prob": np.float32}
    return {name: np.array(values, dtype=kinds.get(name, bool)) for name, values in columns.items()}


def make_generations(seed=0):
    rng, words = np.random.default_rng(seed), ["red", "green", "blue", "lamp", "town", "river"]
    result = []
    for split, (rows, k) in SPLITS.items():
        for row in range(rows):
            for asked in ("original", "paraphrased") if k == 5 else ("original",):
                entry = {
                    "split": split,
                    "row": row,
                    "asked": asked,
                    "answer": " ".join(rng.choice(words, 4)),
                    "generated": " ".join(rng.choice(words, 5)),
                }
                result.append(entry | ({"similarities": rng.random(6).tolist()} if asked == "paraphrased" else {}))
    return result


def texts_of(log):
    """{(split, row, role): log-probabilities of all tokens} by plain looping."""
    result = {}
    for split, row, role, value in zip(log["split"], log["row"], log["role"], log["log_prob"], strict=True):
        result.setdefault((split, int(row), role), []).append(float(value))
    return {key: np.array(values) for key, values in result.items()}


def test_wagle_protocol_against_plain_numpy():
    log, generations = make_log(), make_generations()
    texts = texts_of(log)
    ratio = {
        split: [
            np.mean([np.exp(texts[split, r, f"perturbed{k}@paraphrased"][3:].mean()) for k in range(5)])
            / np.exp(texts[split, r, "paraphrased@paraphrased"][3:].mean())
            for r in range(SPLITS[split][0])
        ]
        for split in ("forget_perturbed", "retain_perturbed")
    }
    low = {split: [-np.sort(texts[split, r, "answer"])[:4].mean() for r in range(SPLITS[split][0])] for split in ratio}
    pairs = [(f > r) + 0.5 * (f == r) for f in low["forget_perturbed"] for r in low["retain_perturbed"]]
    found = metrics.evaluate("wagle", log, generations)
    assert found["FQ"]["value"] == pytest.approx(1 - stats.ks_2samp(*ratio.values()).pvalue, rel=1e-12)
    assert found["MIA"]["value"] == pytest.approx(np.mean(pairs), rel=1e-12)
    first = [g for g in generations if g["split"] == "forget_perturbed"]
    wrong = [float(g["similarities"][0] <= max(g["similarities"][1:])) for g in first if g["asked"] == "paraphrased"]
    assert found["1-FA"]["value"] == pytest.approx(np.mean(wrong))
    assert found["1-FA"]["se"] == pytest.approx(np.std(wrong, ddof=1) / math.sqrt(len(wrong)))
    recall = [longest_common(g["answer"].split(), g["generated"].split()) / 4 for g in first if g["asked"] == "original"]
    assert found["1-Rouge-L"]["value"] == pytest.approx(1 - np.mean(recall))
    assert found["UE Avg"]["value"] == pytest.approx(np.mean([found[m]["value"] for m in metrics.EFFICACY]))
    assert found["UT Avg"]["value"] == pytest.approx(np.mean([found[m]["value"] for m in metrics.UTILITY]))
    assert found["world facts Acc"]["n"] == 5 and all(entry["n"] for entry in found.values())


def test_tofu_protocol_against_plain_numpy():
    log, reference, generations = make_log(), make_log(1), make_generations()
    texts, other = texts_of(log), texts_of(reference)

    def ratio(source, split, row):
        k = SPLITS[split][1]
        right = "paraphrased" if k == 5 else "answer"
        wrong = np.mean([-source[split, row, f"perturbed{i}"][3:].mean() for i in range(k)])
        return np.exp(wrong + source[split, row, right][3:].mean())

    found = metrics.evaluate("tofu", log, generations, reference)
    first, second = ([ratio(s, "forget_perturbed", r) for r in range(6)] for s in (texts, other))
    assert found["forget quality"]["value"] == pytest.approx(stats.ks_2samp(first, second).pvalue, rel=1e-12)
    parts = []
    for split, name in metrics.SPLIT_NAMES.items():
        rows, k = SPLITS[split]
        p = np.array([np.exp(texts[split, r, "answer"][3:].mean()) for r in range(rows)])
        if k == 3:
            wrong = np.array([[np.exp(texts[split, r, f"perturbed{i}"][3:].mean()) for i in range(k)] for r in range(rows)])
            p = p / (p + wrong.sum(1))
        r = np.array([ratio(texts, split, row) for row in range(rows)])
        chosen = [g for g in generations if g["split"] == split and g["asked"] == "original"]
        recall = [longest_common(g["answer"].split(), g["generated"].split()) / 4 for g in chosen]
        parts += [p.mean(), np.mean(recall), np.maximum(0, 1 - 1 / r).mean()]
        assert found[f"{name} probability"]["value"] == pytest.approx(p.mean(), rel=1e-12)
    assert found["model utility"]["value"] == pytest.approx(stats.hmean(parts) if min(parts) > 0 else 0, rel=1e-12)
    assert found["forget truth ratio"]["value"] == pytest.approx(np.minimum(first, 1 / np.array(first)).mean(), rel=1e-12)


def test_open_unlearning_inverts_tofus_ratio():
    log, generations = make_log(), make_generations()
    tofu, other = (metrics.evaluate(name, log, generations, make_log(1)) for name in ("tofu", "open-unlearning"))
    for metric, entry in tofu.items():
        assert other[metric]["value"] == pytest.approx(entry["value"], rel=1e-6), metric


def test_code_span_has_the_last_prompt_token_and_no_eos():
    log = metrics.Log(make_log())
    span = log.in_span("forget_perturbed", 0, "answer", "last-prompt-token+answer")
    assert span.tolist() == [False, False, True, True, True, True, True, False]
    assert log.in_span("forget_perturbed", 0, "answer", "answer+eos").tolist() == [False] * 3 + [True] * 5


def test_missing_texts_are_named():
    log = make_log()

    with pytest.raises(WagleError):
        metrics.evaluate(
            "wagle", {name: values[log["split"] != "retain_perturbed"] for name, values in log.items()}, make_generations()
        )
    with pytest.raises(WagleError, match="protocol"):
        metrics.evaluate("mine", log, [])
