"""Tuning: what a config may say, picks, rows of both sides, comparisons at equal efficacy."""

import copy

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from wagle.errors import WagleError
from wagle.evaluation import trials
from wagle.evaluation.candidates import ExtrapolationError
from wagle.evaluation.row_sides import rows_of_side, side_of_rows
from wagle.experiment import claims_file, config, grid
from wagle.experiment.cells import Cell
from wagle.figures import trade_off
from wagle.reporting import matched, tables, tuning
from wagle.runtime.identity import ROOT

TUNED = yaml.safe_load((ROOT / "config" / "tune-quick.yaml").read_text())
RULE = trials.Rule("UE Avg", "UT Avg", 0.95, "original")


def changed(path, value):
    result = copy.deepcopy(TUNED)
    *parents, last = path.split(".")
    block = result
    for key in parents:
        block = block[key]
    block[last] = value
    return result


# --- configs and cells ---


def test_every_selection_has_the_same_number_of_trials():
    counts = {group.id: len(grid.trial_cells(TUNED, group)) for group in grid.groups(TUNED)}
    assert len(counts) == 6 and set(counts.values()) == {6}
    for trial in grid.all_trials(TUNED):
        assert Cell.parse(trial.id) == trial and trial.lr and not trial.tuned


def test_reported_cells_say_tuned_and_share_nothing_with_trials():
    cells = [cell for cell in grid.all_cells(TUNED) if cell.seed is not None]
    assert len(cells) == 18 and all(cell.tuned and Cell.parse(cell.id) == cell for cell in cells)
    assert "npo/dense/tuned/seed-1" in {cell.id for cell in cells}
    wagle = next(cell for cell in cells if cell.selection == "wagle")
    assert wagle.id == "npo/wagle@gamma-1e-06/tuned/seed-1"
    assert grid.mask_folder(TUNED, wagle) == "masks/wagle@gamma-1e-06/seed-1/tuned/npo"
    assert not {cell.seed for cell in cells} & {cell.seed for cell in grid.all_trials(TUNED)}


def test_sweeps_keep_their_own_ratios_and_gammas():
    sweep = {"selection": "wagle", "ratios": [0.5], "gammas": [1.0]}
    cells = grid.sweep_cells(TUNED, sweep | {"seeds": [1]})
    assert [cell.id for cell in cells] == [
        "npo/wagle@gamma-1e-06/ratio-0.5/seed-1",
        "npo/wagle@gamma-1.0/ratio-0.8/seed-1",
        "npo/dense/tuned/seed-1",
    ]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("tuning.seeds", [2, 101], r"tuning\.seeds and seeds share 2"),
        ("tuning.ratios", [0.5], "have 3 lrs_without_ratio, as many as lrs times ratios"),
        ("tuning.lrs_without_ratio", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "with all of lrs"),
        ("tuning.rule.maximise", "UE", "unknown name 'UE'"),
        ("tuning.rule.subject_to", {}, "1 or more items"),
        ("tuning.rule.subject_to", {"UT Avg": {"at_least": 0.9, "of": "wagle"}}, "allowed: 'orig"),
        ("tuning.rows.share", 1.0, "tuning.rows.share"),
        ("selections.dense", {"lr": 1.0e-3}, r"selections\.dense\.lr is given, and its rate"),
        ("selections.wagle.matched", True, "not row-wise"),
        ("figures.ratio_sweep", {"selection": "wagle", "ratios": [0.5], "seeds": [101]}, "101"),
    ],
)
def test_a_config_that_would_leak_or_favour_is_refused(path, value, message):
    with pytest.raises(WagleError, match=message):
        config.validate(changed(path, value), "c.yaml")


def test_trials_need_a_tuning_block_and_rows_the_task_tofu():
    without = {key: value for key, value in TUNED.items() if key != "tuning"}
    with pytest.raises(WagleError, match="a block tuning"):
        config.validate(without, "c.yaml")
    assert not grid.all_trials(without) and not any(c.tuned for c in grid.all_cells(without))
    matching = changed("selections.wanda", {"matched": True})
    config.validate(matching, "c.yaml")


# --- picks ---


def point(kept, maximised, lr=1.0, ratio=0.5):
    return trials.Point("npo/wagle", ratio, lr, (101,), maximised, kept)


def test_the_most_efficacy_among_those_that_keep_utility_is_picked():
    found = trials.pick([point(0.9, 0.2), point(0.8, 0.5), point(0.7, 0.9)], least=0.8)
    assert found.met and found.point.maximised == 0.5 and found.points == 3


def test_where_none_keeps_it_the_nearest_is_picked_and_that_is_said():
    found = trials.pick([point(0.3, 0.9), point(0.4, 0.5)], least=0.8)
    assert not found.met and found.point.kept == 0.4


def test_equal_points_go_to_the_lower_rate_and_ends_of_the_grid_are_named():
    same = [point(0.9, 0.5, lr) for lr in (3.0, 1.0, 2.0)]
    found = trials.pick(same, least=0.8)
    assert found.point.lr == 1.0 and found.ends == ("lowest lr",)
    with pytest.raises(WagleError, match="no trials"):
        trials.pick([], 0.5)


def test_points_are_means_over_seeds():
    cells = [f"npo/dense/ratio-all/lr-0.1/seed-{seed}" for seed in (7, 8)]
    metrics = [{"UE Avg": {"value": v}, "UT Avg": {"value": 1 - v}} for v in (0.2, 0.6)]
    [found] = trials.points(cells, metrics, RULE)
    assert (found.maximised, found.kept) == pytest.approx((0.4, 0.6)) and found.seeds == (7, 8)
    with pytest.raises(WagleError, match="has no UT Avg"):
        trials.points(cells[:1], [{"UE Avg": {"value": 1.0}}], RULE)


# --- rows ---


@given(st.integers(2, 300), st.floats(0.01, 0.99), st.integers(0, 9))
def test_both_sides_part_the_rows(n, share, seed):
    count = round(share * n)
    if not 0 < count < n:
        with pytest.raises(WagleError, match="a side without rows"):
            side_of_rows("forget", n, share, seed)
        return
    kept = side_of_rows("forget", n, share, seed)
    assert kept.sum() == count and (kept == side_of_rows("forget", n, share, seed)).all()


def test_logs_are_parted_and_numbered_anew():
    rows = np.repeat(np.arange(10, dtype=np.int32), 3)
    log = {"split": np.array(["a"] * 30, dtype=object), "row": rows, "log_prob": rows * 1.0}
    texts = [{"split": "a", "row": row, "asked": kind} for row in range(10) for kind in "op"]
    sides = {
        side: rows_of_side({"scores": log, "generations": texts}, side, 0.5, 0)
        for side in ("trials", "reported")
    }
    for side in sides.values():
        assert sorted(set(side["scores"]["row"])) == list(range(5))
        assert [entry["row"] for entry in side["generations"]] == [
            i for i in range(5) for _ in "op"
        ]
        assert side["scores"]["row"].dtype == np.int32
    values = [set(side["scores"]["log_prob"]) for side in sides.values()]
    assert not values[0] & values[1] and len(values[0] | values[1]) == 10
    with pytest.raises(WagleError, match="side 'all'"):
        rows_of_side({}, "all", 0.5, 0)


# --- matched comparisons ---


def curve(offset, slope=-1.0, seeds=3, noise=0.0, rows=200):
    """Trials of a selection on the line UT = offset + slope * UE, for every seed."""
    rng = np.random.default_rng(0)
    cells, metrics, of_rows = [], [], []
    for seed in range(seeds):
        for number, efficacy in enumerate((0.1, 0.3, 0.5, 0.7)):
            cells.append(f"npo/NAME/ratio-0.5/lr-{0.1 * (number + 1)!r}/seed-{seed}")
            each = offset + slope * efficacy + noise * rng.normal(size=rows)
            metrics.append({"UE Avg": {"value": efficacy}, "UT Avg": {"value": each.mean()}})
            of_rows.append({"UT Avg": {"retain": (each).tolist()}})
    return cells, metrics, of_rows


def together(**curves):
    parts = [[], [], []]
    for name, found in curves.items():
        for part, values in zip(parts, found, strict=True):
            part += [v.replace("NAME", name) if isinstance(v, str) else v for v in values]
    return parts


CLAIM = {
    "id": "b",
    "all_of": [
        {"for_each": "method", "metric": ["UT Avg"], "first": {"selection": "wagle"},
         "second": {"selection": "others"}, "tolerance": 0.01}
    ],
}  # fmt: skip
STATED = {"level": 0.95, "least_seeds": 3, "judged_on": {}, "claims": [CLAIM]}


def pairs(**curves):
    return matched.table(*together(**curves), RULE.metrics, STATED)


def test_a_better_curve_is_better_at_equal_efficacy_by_the_offset():
    found = pairs(wagle=curve(1.0, noise=0.05), random=curve(0.9, noise=0.05))
    own = found[found["claim"] == "b"].iloc[0]
    assert own["metric"] == "UT Avg" and own["at equal"] == "UE Avg"
    assert own["at"] == pytest.approx(0.4) and own["step"] == pytest.approx(0.2)
    assert own["difference"] == pytest.approx(0.1, abs=1e-6) and own["verdict"] == "reproduced"
    assert own["low"] <= own["difference"] <= own["high"] and own["seeds"] == 3
    other = found[found["claim"] == ""].iloc[0]
    assert other["metric"] == "UE Avg" and other["difference"] == pytest.approx(0.1, abs=0.01)


def test_leverage_alone_makes_no_difference():
    """One selection moves further with each trial along the same curve."""
    cells, metrics, rows = curve(0.9)
    far = (cells[1:4], metrics[1:4], rows[1:4])
    near = (cells[:3], metrics[:3], rows[:3])
    found = pairs(wagle=far, random=near)
    own = found[found["claim"] == "b"].iloc[0]
    assert own["difference"] == pytest.approx(0, abs=1e-9) and own["at"] == pytest.approx(0.4)


def test_curves_without_a_common_range_are_named_and_not_extrapolated():
    cells, metrics, rows = curve(0.9, seeds=1)
    found = pairs(
        wagle=(cells[2:], metrics[2:], rows[2:]), random=(cells[:2], metrics[:2], rows[:2])
    )
    assert set(found["verdict"]) == {matched.NO_RANGE} and found["difference"].isna().all()
    built = matched.curves(
        *together(a=(cells[2:], metrics[2:], rows[2:]), b=(cells[:2], metrics[:2], rows[:2])),
        RULE.metrics,
    )
    with pytest.raises(ExtrapolationError):
        matched.compare(built["npo", "a"], built["npo", "b"], "UT Avg", "UE Avg")


def test_beaten_trials_are_left_out_of_a_curve():
    x, y = np.array([0.1, 0.2, 0.3]), np.array([0.9, 0.4, 0.7])
    assert matched.on_frontier(x, y).tolist() == [True, False, True]


def test_a_claims_matched_verdict_joins_its_pairs():
    assert matched.claim_verdict(["reproduced", "reproduced"]) == "reproduced"
    assert matched.claim_verdict([matched.NO_RANGE]) == matched.NO_RANGE
    assert "1 of 2 pairs" in matched.claim_verdict(["reproduced", matched.NO_RANGE])
    assert matched.claim_verdict(["not reproduced: lower", matched.NO_RANGE]).startswith("not rep")
    claims = pd.DataFrame({"claim": ["a", "b"], "verdict": ["x", "y"]})
    found = matched.beside(claims, pairs(wagle=curve(1.0), random=curve(0.9)))
    assert list(found["matched form"]) == ["", "reproduced"]


# --- what is shown ---


@pytest.mark.parametrize(("task", "judged"), [("tofu", "ab"), ("wmdp", "d"), ("detox", "e")])
def test_the_papers_claims_have_matched_forms(task, judged):
    stated = claims_file.claims(task)
    utility = {"tofu": "UT Avg", "wmdp": "MMLU", "detox": "zero-shot Acc"}[task]
    cells, metrics, rows = together(wagle=curve(1.0), dense=curve(0.9))
    cells = [name.replace("npo/", "po/") for name in cells]
    metrics, rows = (
        [{utility if k == "UT Avg" else k: v for k, v in each.items()} for each in found]
        for found in (metrics, rows)
    )
    found = matched.table(cells, metrics, rows, ("UE Avg", utility), stated)
    assert set(found["claim"]) - {""} == set(judged) and len(found) == 2
    answers = [{"verdict": "undecided"} for _ in stated["claims"]]
    assert len(tuning.noted(answers, stated["claims"], tuned=False)) == len(answers)


def test_untuned_claims_say_so():
    sweep = {
        "id": "f",
        "all_of": [{"metric": ["UE Avg"], "first": {}, "second": {"ratio": "least"}}],
    }
    density = {"id": "g", "all_of": [{"density": "module", "first": [], "second": []}]}
    answers = [{"verdict": "reproduced"}, {"verdict": "undecided"}, {"verdict": "reproduced"}]
    claims = [CLAIM, sweep, density]
    found = [answer["verdict"] for answer in tuning.noted(answers, claims, tuned=False)]
    assert found == [f"reproduced ({tuning.NOTE})", f"undecided ({tuning.NOTE})", "reproduced"]
    found = [answer["verdict"] for answer in tuning.noted(answers, claims, tuned=True)]
    assert found == ["reproduced", f"undecided ({tuning.NOTE})", "reproduced"]
    [missing] = tuning.noted([{"verdict": "not tested"}], [CLAIM], tuned=False)
    assert missing["verdict"] == "not tested"


def test_tables_name_the_point():
    picks = [
        trials.pick([point(0.9, 0.5, 6e-4, 0.8)], 0.8).as_json(RULE, 0.8),
        trials.pick([trials.Point("npo/dense", None, 3e-4, (1,), 0.5, 0.2)], 0.8).as_json(
            RULE, 0.8
        ),
    ]
    points = tuning.points_table(picks, RULE)
    assert list(points["remarks"]) == ["", "no trial keeps UT Avg of 0.8"]
    same = {"protocol": "wagle", "metric": "UE Avg", "mean": 0.5, "se": 0.1, "seeds": 3, "n": 9}
    names = [("original", ""), ("npo", "dense"), ("npo", "wagle")]
    summary = pd.DataFrame([{"method": m, "selection": s} | same for m, s in names])
    summary = tuning.with_points(summary, points)
    assert list(summary["tuned point"]) == ["", "lr 0.0003", "lr 0.0006, ratio 0.8"]
    layout = {"Efficacy": ["UE Avg"]}
    text = tables.markdown(summary, layout, ("UE Avg",))
    assert "| NPO | WAGLE | lr 0.0006, ratio 0.8 | " in text and "| tuned point |" in text
    assert "tuned point" in tables.html(summary, layout, ()) and "lr 0.0003" in tables.latex(
        summary, layout, ()
    )
    assert "tuned point" not in tables.wide(summary.drop(columns="tuned point"), layout)


def test_the_trade_off_figure_has_every_trial_and_anchors(tmp_path):
    cells, metrics, _ = together(wagle=curve(1.0), dense=curve(0.9))
    metrics = [{k: v | {"se": 0.01, "n": 20} for k, v in found.items()} for found in metrics]
    anchors = [metrics[0], metrics[1]]
    ids = [name.replace("dense/ratio-0.5", "dense/ratio-all") for name in cells]
    parsed = [Cell.parse(name) for name in ids]
    groups = {cell.group: cell for cell in parsed}
    picks = [
        {"group": group, "ratio": cell.ratio, "lr": cell.lr, "least": 0.5}
        for group, cell in groups.items()
    ]
    table = tuning.trials_table(["original", "retrained", *ids], anchors + metrics, RULE, picks)
    table.to_csv(tmp_path / "trials.csv", index=False)
    params = trade_off.params(TUNED, {})
    data = trade_off.table({"trials": [tmp_path / "trials.csv"]}, params)
    assert len(data) == 2 + 2 * 4 and set(data["seeds"][2:]) == {3}
    assert (data["picked"] == "yes").sum() == 2 and (data["frontier"] == "yes").sum() == 10
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=trade_off.SIZE)
    trade_off.draw(figure, data, params)
    assert len(figure.axes) == 1 and "3 seeds" in figure.get_suptitle()
    plt.close(figure)
