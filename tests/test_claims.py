"""Verdicts from constructed metrics: true, false, noisy and missing; intervals against scipy."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from wagle.errors import WagleError
from wagle.evaluation import statistics as engine
from wagle.experiment import claims_file
from wagle.reporting import claims

PART = {
    "for_each": "method",
    "metric": ["UE Avg"],
    "first": {"selection": "wagle"},
    "second": {"selection": "others"},
    "tolerance": 0.01,
}


def metrics(values, seeds=4, noise=0.002, se=0.01, metric="UE Avg", ratio=0.8):
    """Rows of cells {(method, selection): mean}, with independent noise per seed."""
    rng = np.random.default_rng(0)
    same = {"gamma": None, "metric": metric, "se": se, "n": 50, "default": True}
    rows = [
        same
        | {
            "method": method,
            "selection": selection,
            "seed": seed,
            "value": mean + noise * rng.normal(),
        }
        | {"ratio": None if selection == "dense" else ratio}
        for (method, selection), mean in values.items()
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows)


def judge(frame, *parts, densities=None):
    setting = claims.Setting(
        level=0.95, least_seeds=3, metrics=frame, densities=densities or {}, judged_on=JUDGED_ON
    )
    return claims.judge({"id": "x", "text": "t", "all_of": list(parts)}, setting)


JUDGED_ON = {"UE Avg": "UE Avg (KS)"}
TRUE = {
    ("npo", "dense"): 0.5,
    ("npo", "random"): 0.4,
    ("npo", "wagle"): 0.6,
    ("po", "dense"): 0.2,
    ("po", "wagle"): 0.4,
}


def test_a_true_claim_is_reproduced_and_its_weakest_pair_shown():
    found = judge(metrics(TRUE), PART)
    assert found["verdict"] == "reproduced" and len(found["pairs"]) == 3
    assert (
        found["weakest"]["first"] == "npo/wagle/ratio-0.8"
        and found["weakest"]["second"] == "npo/dense"
    )
    assert found["weakest"]["covers"] == "4 paired seeds; not the choice of rows"
    assert found["weakest"]["n_seeds"] == 4 and found["weakest"]["corrected_for"] == 1


def test_a_false_claim_is_not_reproduced_even_if_false_for_one_pair_only():
    found = judge(metrics(TRUE | {("po", "dense"): 0.45}), PART)
    assert found["verdict"] == "not reproduced: lower"
    assert [pair["verdict"] for pair in found["pairs"]].count("not reproduced: lower") == 1
    pair = found["weakest"]  # the interval that decided: Bonferroni's of three pairs, wholly below
    assert pair["second"] == "po/dense" and pair["corrected_for"] == 3
    assert pair["level"] == pytest.approx(1 - 0.05 / 3) and pair["high"] < 0.01
    frame = metrics(TRUE | {("po", "dense"): 0.45})
    sides = [
        frame.loc[(frame["method"] == "po") & (frame["selection"] == s), "value"].to_numpy()
        for s in ("wagle", "dense")
    ]
    wanted = stats.ttest_rel(*sides).confidence_interval(1 - 0.05 / 3)
    assert (pair["low"], pair["high"]) == pytest.approx((wanted.low, wanted.high))


def test_a_noisy_claim_is_undecided():
    needed = r"undecided: needs (about \d+ seeds|more rows, not seeds)"
    assert re.fullmatch(needed, judge(metrics(TRUE, noise=0.3), PART)["verdict"])
    few = judge(metrics(TRUE, seeds=1, se=0.2), PART)
    assert few["verdict"] == "undecided: needs about 3 seeds"


def test_a_real_difference_below_the_tolerance_is_not_reproduced():
    small = {("npo", "dense"): 0.5, ("npo", "wagle"): 0.503}
    verdict = judge(metrics(small, noise=0.0001), PART)["verdict"]
    assert verdict == "not reproduced: higher, but by less than the tolerance"


def test_a_missing_cell_is_not_tested_and_says_so():
    found = judge(metrics({("npo", "dense"): 0.5}), PART)
    assert found["verdict"] == "not tested" and "wagle" in found["reason"]
    assert judge(
        metrics(TRUE),
        {"density": "module", "selection": "wagle", "above": [], "below": [], "tolerance": 0},
    )["reason"]


def test_not_worse_than_by_a_tolerance():
    part = PART | {"for_each": None, "second": {"selection": "dense"}, "tolerance": -0.05}
    assert (
        judge(metrics({("po", "dense"): 0.5, ("po", "wagle"): 0.48}), part)["verdict"]
        == "reproduced"
    )
    assert (
        judge(metrics({("po", "dense"): 0.5, ("po", "wagle"): 0.4}), part)["verdict"]
        == "not reproduced: lower"
    )


def test_seed_intervals_are_scipys_paired_t():
    frame = metrics({("po", "dense"): 0.5, ("po", "wagle"): 0.6}, seeds=5, noise=0.05)
    pair = judge(frame, PART)["weakest"]
    a, b = (frame.loc[frame["selection"] == s, "value"].to_numpy() for s in ("wagle", "dense"))
    low, high = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (pair["low"], pair["high"]) == pytest.approx((low, high))


def with_rows(frame, rows=40, row_sd=0.2):
    """`frame` with rows whose mean is the value; rows of all cells share their effects."""
    rng = np.random.default_rng(1)
    effects = rng.normal(0, row_sd, rows)
    each = [effects - effects.mean() + 0.02 * rng.normal(size=rows) for _ in range(len(frame))]
    parts = [
        {"forget": (v + x - x.mean()).tolist()} for v, x in zip(frame["value"], each, strict=True)
    ]
    return frame.assign(rows=parts)


def test_intervals_are_over_rows_and_seeds_where_rows_were_kept():
    frame = with_rows(metrics({("po", "dense"): 0.5, ("po", "wagle"): 0.6}, noise=0.02))
    pair = judge(frame, PART)["weakest"]
    cells = [
        np.array([row["forget"] for row in frame.loc[frame["selection"] == s, "rows"]])
        for s in ("wagle", "dense")
    ]
    wanted = engine.difference(*cells)
    assert (pair["low"], pair["high"]) == pytest.approx((wanted.low, wanted.high))
    assert pair["covers"] == "4 paired seeds and paired rows" and pair["n_rows"] == 40


def test_two_seeds_decide_nothing_and_their_interval_is_of_rows_alone():
    frame = metrics({("po", "dense"): 0.5, ("po", "wagle"): 0.6}, seeds=2, noise=0, se=0.03)
    alone = judge(frame, PART)["weakest"]
    assert alone["verdict"] == "undecided: needs about 3 seeds" and alone["se"] is None
    pair = judge(with_rows(frame), PART)["weakest"]
    assert pair["verdict"] == "undecided: needs about 3 seeds" and pair["low"] > 0
    assert pair["covers"] == "paired rows; not the spread over seeds: 2 of at least 3"


def test_a_p_value_is_not_what_a_claim_is_judged_on():
    """UE Avg is stated; with KS in FQ's place it is judged, and both differences are shown."""
    frame = pd.concat(
        [metrics(TRUE), metrics({k: v / 2 for k, v in TRUE.items()}, metric="UE Avg (KS)")]
    )
    pair = judge(frame, PART)["weakest"]
    assert pair["metric"] == "UE Avg (KS)"
    assert pair["value"] == pytest.approx(0.05, abs=0.01)
    assert pair["as_stated"] == pytest.approx(0.1, abs=0.01)


COUNTER = {
    "for_each": "method",
    "metric": ["UE Avg"],
    "first": {"selection": "random"},
    "second": {"selection": "wagle"},
    "tolerance": -0.01,
}


@pytest.mark.parametrize(
    ("random", "verdict"),
    [(0.598, "reproduced"), (0.7, "reproduced"), (0.55, "not reproduced: lower")],
)
def test_the_counter_claim_can_go_either_way(random, verdict):
    cells = {("npo", "random"): random, ("npo", "wagle"): 0.6}
    assert judge(metrics(cells), COUNTER)["verdict"] == verdict


def test_several_metrics_are_averaged_and_others_may_stand_first():
    frame = pd.concat(
        [metrics(TRUE), metrics({k: 1 - v for k, v in TRUE.items()}, metric="UT Avg", noise=0.001)]
    )
    part = {
        "metric": ["UT Avg"],
        "first": {"method": "others", "selection": "wagle"},
        "second": {"method": "npo", "selection": "wagle"},
        "tolerance": 0.01,
    }
    found = judge(frame, part)
    assert found["verdict"] == "reproduced" and found["weakest"]["first"].startswith("po/")
    balance = judge(frame, part | {"metric": ["UE Avg", "UT Avg"]})["weakest"]
    assert balance["value"] == pytest.approx(0, abs=0.01)


def test_ratios_least_and_best():
    sweep = pd.concat(
        [
            metrics({("npo", "wagle"): v}, ratio=r)
            for r, v in ((0.6, 0.3), (0.8, 0.5), (0.95, 0.6), (0.99, 0.4))
        ]
    )
    part = {
        "metric": ["UE Avg"],
        "first": {"selection": "wagle", "ratio": [0.8, 0.95], "pick": "best"},
        "second": {"selection": "wagle", "ratio": [0.6, 0.99]},
        "tolerance": 0.01,
    }
    found = judge(sweep, part)
    assert found["verdict"] == "reproduced" and {p["first"] for p in found["pairs"]} == {
        "npo/wagle/ratio-0.95"
    }
    one = judge(sweep[sweep["seed"] == 0], part)
    assert one["verdict"] == "not tested" and "picked on other seeds" in one["reason"]
    least = judge(sweep, part | {"first": {"ratio": [0.8]}, "second": {"ratio": "least"}})
    assert least["weakest"]["second"] == "npo/wagle/ratio-0.6"


def density(values):
    names = {"q_proj": 4, "o_proj": 4}
    rows = [{"parameter": f"model.layers.{i}.self_attn.{n}.weight", "selected": int(1000 * values(n, i)), "size": 1000}
            for n, layers in names.items() for i in range(layers)]  # fmt: skip
    return pd.DataFrame(rows)


def modules(above, below):
    return {
        "density": "module",
        "selection": "wagle",
        "above": above,
        "below": below,
        "tolerance": 0.05,
    }


def test_each_kind_of_module_is_compared_with_the_ratio_of_the_mask():
    table = density(lambda name, i: (0.8 if name == "o_proj" else 0.5) + 0.01 * i)
    found = judge(metrics(TRUE), modules(["sa o"], ["sa q"]), densities={"wagle": table})
    share = (table["selected"] / table["size"]).to_numpy()
    assert found["verdict"] == "reproduced" and len(found["pairs"]) == 2
    for pair, sample, sign in zip(found["pairs"], (share[4:], share[:4]), (1, -1), strict=True):
        wanted = stats.ttest_1samp(sign * (sample - share.mean()), 0).confidence_interval(0.95)
        assert (pair["low"], pair["high"]) == pytest.approx((wanted.low, wanted.high))
        assert pair["covers"] == "4 parts of one mask"
    swapped = judge(metrics(TRUE), modules(["sa q", "sa o"], []), densities={"wagle": table})
    assert swapped["verdict"] == "not reproduced: lower"  # one kind that fails is enough
    assert swapped["weakest"]["first"] == "wagle (sa q)"
    missing = judge(metrics(TRUE), modules(["sa v"], []), densities={"wagle": table})
    assert missing["verdict"] == "not tested" and "sa v" in missing["reason"]


def test_claims_about_layers_are_welchs():
    table = density(lambda name, i: (0.8 if name == "o_proj" else 0.5) + 0.01 * i)
    layers = {
        "density": "layer",
        "selection": "wagle",
        "first": [0, 0.5],
        "second": [0.5, 1],
        "tolerance": 0.05,
    }
    found = judge(metrics(TRUE), layers, densities={"wagle": table})
    share = table["selected"].to_numpy().reshape(2, 4).sum(0) / 2000
    test = stats.ttest_ind(share[:2], share[2:], equal_var=False)
    assert found["verdict"] == "not reproduced: lower"
    interval = test.confidence_interval(0.95)
    assert (found["weakest"]["low"], found["weakest"]["high"]) == pytest.approx(
        (interval.low, interval.high), rel=1e-3
    )


def test_the_table_has_a_row_for_every_claim_and_numbers_are_refused_when_they_are_none():
    answers = [judge(metrics(TRUE), PART), judge(metrics({("npo", "dense"): 0.5}), PART)]
    table = claims.table(answers)
    assert list(table["verdict"]) == ["reproduced", "not tested"] and table["pairs"].tolist() == [
        3,
        0,
    ]
    assert table["interval"].tolist() == ["95 %", ""] and table["seeds"][0] == 4
    assert table["pair that decides"][1] == answers[1]["reason"]
    with pytest.raises(WagleError, match="NaN"):
        judge(metrics(TRUE | {("po", "dense"): float("nan")}), PART)


@pytest.mark.parametrize("task", ["tofu", "wmdp", "whp", "detox"])
def test_the_papers_claims_are_well_formed(task):
    stated = claims_file.claims(task)
    assert stated["claims"] and 0.5 < stated["level"] < 1
    for claim in stated["claims"]:
        for part in claim["all_of"]:
            sides = {"above", "below"} if part.get("density") == "module" else {"first", "second"}
            assert sides | {"tolerance"} <= part.keys() and ("metric" in part) != (
                "density" in part
            )
    assert {
        c["id"] for t in ("tofu", "wmdp", "whp", "detox") for c in claims_file.claims(t)["claims"]
    } == set("abcdefghij")
