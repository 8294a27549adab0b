"""Verdicts from constructed metrics: true, false, noisy and missing; intervals against scipy."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from wagle.errors import WagleError
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
    return claims.judge(
        {"id": "x", "text": "t", "all_of": list(parts)}, 0.95, 3, frame, densities or {}
    )


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
    assert found["weakest"]["basis"] == "seeds" and found["weakest"]["n"] == 4


def test_a_false_claim_is_not_reproduced_even_if_false_for_one_pair_only():
    found = judge(metrics(TRUE | {("po", "dense"): 0.45}), PART)
    assert found["verdict"] == "not reproduced"
    assert [pair["verdict"] for pair in found["pairs"]].count("not reproduced") == 1


def test_a_noisy_claim_is_undecided():
    assert judge(metrics(TRUE, noise=0.3), PART)["verdict"] == "undecided"
    assert judge(metrics(TRUE, seeds=1, se=0.2), PART)["verdict"] == "undecided"


def test_a_real_difference_below_the_tolerance_is_not_reproduced():
    small = {("npo", "dense"): 0.5, ("npo", "wagle"): 0.503}
    assert judge(metrics(small, noise=0.0001), PART)["verdict"] == "not reproduced"


def test_a_missing_cell_is_not_tested_and_says_so():
    found = judge(metrics({("npo", "dense"): 0.5}), PART)
    assert found["verdict"] == "not tested" and "wagle" in found["reason"]
    assert judge(
        metrics(TRUE),
        {"density": "module", "selection": "wagle", "first": [], "second": [], "tolerance": 0},
    )["reason"]


def test_not_worse_than_by_a_tolerance():
    part = PART | {"for_each": None, "second": {"selection": "dense"}, "tolerance": -0.05}
    assert (
        judge(metrics({("po", "dense"): 0.5, ("po", "wagle"): 0.48}), part)["verdict"]
        == "reproduced"
    )
    assert (
        judge(metrics({("po", "dense"): 0.5, ("po", "wagle"): 0.4}), part)["verdict"]
        == "not reproduced"
    )


def test_seed_intervals_are_scipys_paired_t():
    frame = metrics({("po", "dense"): 0.5, ("po", "wagle"): 0.6}, seeds=5, noise=0.05)
    pair = judge(frame, PART)["weakest"]
    a, b = (frame.loc[frame["selection"] == s, "value"].to_numpy() for s in ("wagle", "dense"))
    low, high = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (pair["low"], pair["high"]) == pytest.approx((low, high))


def test_row_intervals_join_both_standard_errors():
    pair = judge(
        metrics({("po", "dense"): 0.5, ("po", "wagle"): 0.6}, seeds=2, noise=0, se=0.03), PART
    )["weakest"]
    half = stats.t.ppf(0.975, 49) * 0.03 * 2**0.5
    assert pair["basis"] == "rows" and pair["high"] - pair["value"] == pytest.approx(half)


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
    least = judge(sweep, part | {"first": {"ratio": [0.8]}, "second": {"ratio": "least"}})
    assert least["weakest"]["second"] == "npo/wagle/ratio-0.6"


def density(values):
    names = {"q_proj": 4, "o_proj": 4}
    rows = [{"parameter": f"model.layers.{i}.self_attn.{n}.weight", "selected": int(1000 * values(n, i)), "size": 1000}
            for n, layers in names.items() for i in range(layers)]  # fmt: skip
    return pd.DataFrame(rows)


def test_density_claims_are_welchs():
    table = density(lambda name, i: (0.8 if name == "o_proj" else 0.5) + 0.01 * i)
    part = {
        "density": "module",
        "selection": "wagle",
        "first": ["sa o"],
        "second": ["sa q"],
        "tolerance": 0.05,
    }
    found = judge(metrics(TRUE), part, densities={"wagle": table})
    share = (table["selected"] / table["size"]).to_numpy()
    low, _ = stats.ttest_ind(share[4:], share[:4], equal_var=False).confidence_interval(0.95)
    assert found["verdict"] == "reproduced" and found["weakest"]["low"] == pytest.approx(
        low, rel=1e-3
    )
    layers = {
        "density": "layer",
        "selection": "wagle",
        "first": [0, 0.5],
        "second": [0.5, 1],
        "tolerance": 0.05,
    }
    assert judge(metrics(TRUE), layers, densities={"wagle": table})["verdict"] == "not reproduced"


def test_the_table_has_a_row_for_every_claim_and_numbers_are_refused_when_they_are_none():
    answers = [judge(metrics(TRUE), PART), judge(metrics({("npo", "dense"): 0.5}), PART)]
    table = claims.table(answers)
    assert list(table["verdict"]) == ["reproduced", "not tested"] and table["pairs"].tolist() == [
        3,
        0,
    ]
    with pytest.raises(WagleError, match="numbers"):
        claims.verdict(claims.Difference(float("nan"), 0.1, 3, 4, "seeds", "a", "b"), 0.01, 0.95)


@pytest.mark.parametrize("task", ["tofu", "wmdp", "whp", "detox"])
def test_the_papers_claims_are_well_formed(task):
    stated = claims_file.claims(task)
    assert stated["claims"] and 0.5 < stated["level"] < 1
    for claim in stated["claims"]:
        for part in claim["all_of"]:
            assert {"first", "second", "tolerance"} <= part.keys() and ("metric" in part) != (
                "density" in part
            )
    assert {
        c["id"] for t in ("tofu", "wmdp", "whp", "detox") for c in claims_file.claims(t)["claims"]
    } == set("abcdefghi")
