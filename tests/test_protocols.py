"""Protocols on a made-up log, against plain numpy and scipy; where the variants differ, and where they must not."""

import math

import numpy as np
import pytest
from oracles import SPLITS, longest_common, make_generations, make_log
from scipy import stats

from wagle import protocols
from wagle.errors import WagleError


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
    found = protocols.evaluate("wagle", log, generations)
    assert found["FQ"]["value"] == pytest.approx(1 - stats.ks_2samp(*ratio.values()).pvalue, rel=1e-12)
    assert found["MIA"]["value"] == pytest.approx(np.mean(pairs), rel=1e-12)
    first = [g for g in generations if g["split"] == "forget_perturbed"]
    wrong = [float(g["similarities"][0] <= max(g["similarities"][1:])) for g in first if g["asked"] == "paraphrased"]
    assert found["1-FA"]["value"] == pytest.approx(np.mean(wrong))
    assert found["1-FA"]["se"] == pytest.approx(np.std(wrong, ddof=1) / math.sqrt(len(wrong)))
    recall = [longest_common(g["answer"].split(), g["generated"].split()) / 4 for g in first if g["asked"] == "original"]
    assert found["1-Rouge-L"]["value"] == pytest.approx(1 - np.mean(recall))
    assert found["UE Avg"]["value"] == pytest.approx(np.mean([found[m]["value"] for m in protocols.EFFICACY]))
    assert found["UT Avg"]["value"] == pytest.approx(np.mean([found[m]["value"] for m in protocols.UTILITY]))
    assert found["world facts Acc"]["n"] == 5 and all(entry["n"] for entry in found.values())


def test_tofu_protocol_against_plain_numpy():
    log, reference, generations = make_log(), make_log(1), make_generations()
    texts, other = texts_of(log), texts_of(reference)

    def ratio(source, split, row):
        k = SPLITS[split][1]
        right = "paraphrased" if k == 5 else "answer"
        wrong = np.mean([-source[split, row, f"perturbed{i}"][3:].mean() for i in range(k)])
        return np.exp(wrong + source[split, row, right][3:].mean())

    found = protocols.evaluate("tofu", log, generations, reference)
    first, second = ([ratio(s, "forget_perturbed", r) for r in range(6)] for s in (texts, other))
    assert found["forget quality"]["value"] == pytest.approx(stats.ks_2samp(first, second).pvalue, rel=1e-12)
    parts = []
    for split, name in protocols.SPLIT_NAMES.items():
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
    tofu, other = (protocols.evaluate(name, log, generations, make_log(1)) for name in ("tofu", "open-unlearning"))
    for metric, entry in tofu.items():
        if metric != "extraction strength":
            assert other[metric]["value"] == pytest.approx(entry["value"], rel=1e-6), metric
    misses = [x == 0 for x in tofu["extraction strength"]["rows"]]
    assert any(misses)
    expected = [0.25 if missed else x for missed, x in zip(misses, tofu["extraction strength"]["rows"], strict=True)]
    assert other["extraction strength"]["rows"] == expected  # a total miss counts 1/n there


def test_code_span_has_the_last_prompt_token_and_no_eos():
    log = protocols.Log(make_log())
    span = log.in_span("forget_perturbed", 0, "answer", "last-prompt-token+answer")
    assert span.tolist() == [False, False, True, True, True, True, True, False]
    assert log.in_span("forget_perturbed", 0, "answer", "answer+eos").tolist() == [False] * 3 + [True] * 5


def test_missing_texts_are_named():
    log = make_log()

    with pytest.raises(WagleError):
        protocols.evaluate(
            "wagle", {name: values[log["split"] != "retain_perturbed"] for name, values in log.items()}, make_generations()
        )
    with pytest.raises(WagleError, match="protocol"):
        protocols.evaluate("mine", log, [])
