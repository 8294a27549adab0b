"""Protocols on a made-up log, against plain numpy and scipy.

Where the variants differ, and where they must not.
"""

import math

import numpy as np
import pytest
from oracles import SPLITS, longest_common, make_generations, make_log
from scipy import stats

from wagle.errors import WagleError
from wagle.evaluation import names, protocols, row_statistics


def texts_of(log):
    """{(split, row, role): log-probabilities of all tokens} by plain looping."""
    result = {}
    for split, row, role, value in zip(
        log["split"], log["row"], log["role"], log["log_prob"], strict=True
    ):
        result.setdefault((split, int(row), role), []).append(float(value))
    return {key: np.array(values) for key, values in result.items()}


def test_wagle_protocol_against_plain_numpy():
    log, generations = make_log(), make_generations()
    texts = texts_of(log)
    ratio = {
        split: [
            np.mean(
                [np.exp(texts[split, r, f"perturbed{k}@paraphrased"][3:].mean()) for k in range(5)]
            )
            / np.exp(texts[split, r, "paraphrased@paraphrased"][3:].mean())
            for r in range(SPLITS[split][0])
        ]
        for split in ("forget_perturbed", "retain_perturbed")
    }
    low = {
        split: [-np.sort(texts[split, r, "answer"])[:4].mean() for r in range(SPLITS[split][0])]
        for split in ratio
    }
    pairs = [
        (f > r) + 0.5 * (f == r) for f in low["forget_perturbed"] for r in low["retain_perturbed"]
    ]
    found = protocols.evaluate("wagle", log, generations)
    assert found["FQ"]["value"] == pytest.approx(
        1 - stats.ks_2samp(*ratio.values()).pvalue, rel=1e-12
    )
    assert found["MIA"]["value"] == pytest.approx(np.mean(pairs), rel=1e-12)
    first = [g for g in generations if g["split"] == "forget_perturbed"]
    wrong = [
        float(g["similarities"][0] <= max(g["similarities"][1:]))
        for g in first
        if g["asked"] == "paraphrased"
    ]
    assert found["1-FA"]["value"] == pytest.approx(np.mean(wrong))
    assert found["1-FA"]["se"] == pytest.approx(np.std(wrong, ddof=1) / math.sqrt(len(wrong)))
    recall = [
        longest_common(g["answer"].split(), g["generated"].split()) / 4
        for g in first
        if g["asked"] == "original"
    ]
    assert found["1-Rouge-L"]["value"] == pytest.approx(1 - np.mean(recall))
    assert found["UE Avg"]["value"] == pytest.approx(
        np.mean([found[m]["value"] for m in names.EFFICACY])
    )
    assert found["UT Avg"]["value"] == pytest.approx(
        np.mean([found[m]["value"] for m in names.UTILITY])
    )
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
    assert found["forget quality"]["value"] == pytest.approx(
        stats.ks_2samp(first, second).pvalue, rel=1e-12
    )
    parts = []
    for split, name in names.UTILITY_SPLITS.items():
        rows, k = SPLITS[split]
        p = np.array([np.exp(texts[split, r, "answer"][3:].mean()) for r in range(rows)])
        if k == 3:
            wrong = np.array(
                [
                    [np.exp(texts[split, r, f"perturbed{i}"][3:].mean()) for i in range(k)]
                    for r in range(rows)
                ]
            )
            p = p / (p + wrong.sum(1))
        r = np.array([ratio(texts, split, row) for row in range(rows)])
        chosen = [g for g in generations if g["split"] == split and g["asked"] == "original"]
        recall = [longest_common(g["answer"].split(), g["generated"].split()) / 4 for g in chosen]
        parts += [p.mean(), np.mean(recall), np.maximum(0, 1 - 1 / r).mean()]
        assert found[f"{name} probability"]["value"] == pytest.approx(p.mean(), rel=1e-12)
    assert found["model utility"]["value"] == pytest.approx(
        stats.hmean(parts) if min(parts) > 0 else 0, rel=1e-12
    )
    assert found["forget truth ratio"]["value"] == pytest.approx(
        np.minimum(first, 1 / np.array(first)).mean(), rel=1e-12
    )


def test_open_unlearning_inverts_tofus_ratio():
    log, generations = make_log(), make_generations()
    tofu, other = (
        protocols.evaluate(name, log, generations, make_log(1))
        for name in ("tofu", "open-unlearning")
    )
    assert set(other) - set(tofu) == {
        "MIA loss",
        "MIA zlib",
        "MIA min-k",
        "MIA min-k++",
        "privleak",
    }
    for metric, entry in tofu.items():
        if metric != "extraction strength":
            assert other[metric]["value"] == pytest.approx(entry["value"], rel=1e-6), metric
    misses = [x == 0 for x in tofu["extraction strength"]["rows"]]
    assert any(misses)
    expected = [
        0.25 if missed else x
        for missed, x in zip(misses, tofu["extraction strength"]["rows"], strict=True)
    ]
    assert other["extraction strength"]["rows"] == expected  # a total miss counts 1/n there


def test_membership_attacks_count_pairs():
    """Each attack's AUROC by counting pairs, answers cut out by hand: tokens 3 to 6, EOS last."""
    log, reference = make_log(), make_log(1)

    def scores(columns, split, attack):
        starts = [
            i
            for i in range(0, len(columns["row"]), 8)
            if (columns["split"][i], columns["role"][i]) == (split, "answer")
        ]
        result = []
        for i in starts:
            logp = columns["log_prob"][i : i + 8].astype(float)
            z = ((logp - columns["mean"][i : i + 8]) / columns["std"][i : i + 8])[3:7]
            loss = -logp[3:].mean()
            result.append(
                {
                    "loss": loss,
                    "zlib": loss / columns["answer_zlib"][i],
                    "min-k": -np.sort(logp[3:7])[:1].mean(),
                    "min-k++": -np.sort(z)[:1].mean(),
                }[attack]
            )
        return result

    def auc(columns, attack):
        pairs = [
            (h > f) + 0.5 * (h == f)
            for h in scores(columns, "holdout", attack)
            for f in scores(columns, "forget_perturbed", attack)
        ]
        return np.mean(pairs)

    found = protocols.evaluate("open-unlearning", log, make_generations(), reference)
    for attack in ("loss", "zlib", "min-k", "min-k++"):
        assert found[f"MIA {attack}"]["value"] == pytest.approx(auc(log, attack), rel=1e-12), attack
    own, retrained = auc(log, "min-k"), auc(reference, "min-k")
    assert found["privleak"]["value"] == pytest.approx(
        100 * (retrained - own) / (1 - retrained), rel=1e-9
    )


def test_code_span_has_the_last_prompt_token_and_no_eos():
    log = protocols.Log(make_log())
    span = log.in_span("forget_perturbed", 0, "answer", "last-prompt-token+answer")
    assert span.tolist() == [False, False, True, True, True, True, True, False]
    assert (
        log.in_span("forget_perturbed", 0, "answer", "answer+eos").tolist()
        == [False] * 3 + [True] * 5
    )


def test_missing_texts_are_named():
    log = make_log()

    with pytest.raises(WagleError):
        protocols.evaluate(
            "wagle",
            {name: values[log["split"] != "retain_perturbed"] for name, values in log.items()},
            make_generations(),
        )
    with pytest.raises(WagleError, match="protocol"):
        protocols.evaluate("mine", log, [])


# --- wagle-code against wagle, switch by switch (docs/metrics.md)
# -------------------------------------------------------


def test_switches_that_both_protocols_share():
    text, code = protocols.PROTOCOLS["wagle"], protocols.PROTOCOLS["wagle-code"]
    assert {key for key in text if text[key] != code[key]} == {
        "truth_ratio",
        "span",
        "attack_eos",
        "ties",
    }


def test_switch_forget_quality_is_p_itself():
    """Same log, spans made equal.

    What is left is 1 - p against p (the 1e-12 moves no rank here).
    """
    log = make_log()
    inside = log["in_span"].copy()
    log["is_eos"] = np.zeros_like(inside)
    log["in_span"] = inside
    starts = np.flatnonzero(inside & ~np.r_[False, inside[:-1]])
    log["in_span"][starts - 1] = (
        True  # the text's span now has the prompt's last token too; the code's gets one more
    )
    both = [protocols.evaluate(name, log, make_generations()) for name in ("wagle", "wagle-code")]
    losses = {
        s: protocols.split_losses(protocols.Log(log), s, protocols.PROTOCOLS["wagle-code"])
        for s in ("forget_perturbed", "retain_perturbed")
    }
    ratios = [
        np.exp(-x.perturbed).mean(1) / (np.exp(-x.paraphrased) + 1e-12) for x in losses.values()
    ]
    assert both[1]["FQ"]["value"] == pytest.approx(stats.ks_2samp(*ratios).pvalue, rel=1e-12)
    losses = {
        s: protocols.split_losses(protocols.Log(log), s, protocols.PROTOCOLS["wagle"])
        for s in losses
    }
    ratios = [np.exp(-x.perturbed).mean(1) / np.exp(-x.paraphrased) for x in losses.values()]
    assert both[0]["FQ"]["value"] == pytest.approx(1 - stats.ks_2samp(*ratios).pvalue, rel=1e-12)


def test_everything_but_fq_and_its_average_is_the_same():
    found = [
        protocols.evaluate(name, make_log(), make_generations()) for name in ("wagle", "wagle-code")
    ]
    different = {
        metric for metric in found[0] if found[0][metric]["value"] != found[1][metric]["value"]
    }
    assert different == {"FQ", "KS", "UE Avg", names.BY_ROWS}


def test_switch_template_closes_with_a_backslash(tokenizer, rows):
    """The official code's tag is a matter of the model run.

    Both templates give spans that hold the same answer.
    """
    from wagle.data.prompts import encode

    row = rows["forget"][0]
    spans = []
    for template in ("[INST] {question} [/INST] {answer}", "[INST] {question} [\\INST] {answer}"):
        encoded = encode(tokenizer, template, row["question"], row["answer"], 128)
        assert ("\\INST" in tokenizer.decode(encoded.ids)) is ("\\" in template)
        spans.append(encoded.ids[encoded.start :])
    assert spans[0] == spans[1]


def test_averages_of_the_same_rows_keep_their_correlation():
    """Perfectly correlated metrics gain nothing by averaging.

    Treated as independent they would seem to.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    se = row_statistics.bootstrap_together(
        {"a": lambda i: x[i].mean(), "b": lambda i: x[i].mean()}, (400,)
    )
    assert se[""] == pytest.approx(se["a"]) == pytest.approx(x.std(ddof=1) / 20, rel=0.2)
    y = rng.normal(size=400)
    independent = row_statistics.bootstrap_together(
        {"a": lambda i: x[i].mean(), "b": lambda i: y[i].mean()}, (400,)
    )
    assert independent[""] == pytest.approx(
        math.hypot(independent["a"], independent["b"]) / 2, rel=0.15
    )


def test_utilitys_error_is_that_of_row_averages():
    log, generations = make_log(), make_generations()
    found, squares = protocols.evaluate("wagle", log, generations), 0.0
    for name in names.UTILITY_SPLITS.values():
        rows = (
            np.array(found[f"{name} Acc"]["rows"]) + np.array(found[f"{name} Rouge-L"]["rows"])
        ) / 2
        squares += rows.var(ddof=1) / len(rows)
    assert found["UT Avg"]["se"] == pytest.approx(math.sqrt(squares) / 3)


@pytest.mark.parametrize("protocol", list(protocols.PROTOCOLS))
def test_parts_add_up_to_their_metric(protocol):
    """What the engine compares is the metric itself: the means of its parts, added up."""
    found = protocols.evaluate(protocol, make_log(), make_generations(), make_log(1))
    rows = protocols.only_rows(found)
    for metric, values in rows.items():
        sets = values.values() if isinstance(values, dict) else [values]
        total = sum(np.mean(x) for x in sets)
        assert total == pytest.approx(found[metric]["value"], rel=1e-12, abs=1e-12), metric
    assert set(found) - set(rows) <= {"FQ", "forget quality", "privleak"}


def test_the_ks_statistic_stands_beside_fq_and_in_no_average():
    log, generations = make_log(), make_generations()
    found = {name: protocols.evaluate(name, log, generations) for name in ("wagle", "wagle-code")}
    losses = [
        protocols.split_losses(protocols.Log(log), split, protocols.PROTOCOLS["wagle"])
        for split in ("forget_perturbed", "retain_perturbed")
    ]
    ratios = [np.exp(-x.perturbed).mean(1) / np.exp(-x.paraphrased) for x in losses]
    gap = stats.ks_2samp(*ratios).statistic
    assert found["wagle"]["KS"]["value"] == pytest.approx(gap, rel=1e-12)
    for name, in_place in (("wagle", gap), ("wagle-code", 1 - found["wagle-code"]["KS"]["value"])):
        others = [found[name][metric]["value"] for metric in names.EFFICACY[1:]]
        value = found[name][names.BY_ROWS]["value"]
        assert value == pytest.approx(np.mean([in_place, *others]), rel=1e-12)
    tofu = protocols.evaluate("tofu", log, generations, make_log(1))
    assert found["wagle"]["extraction strength"] == tofu["extraction strength"]


def test_metrics_of_different_rows_are_not_averaged():
    generations = make_generations()
    with pytest.raises(WagleError, match="same rows"):
        protocols.evaluate(
            "wagle",
            make_log(),
            [g for g in generations if (g["split"], g["row"]) != ("world_facts", 4)][1:],
        )
