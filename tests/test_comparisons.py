"""Tables and figures of curvatures and budgets, from small files with known answers. Costs 4 s."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from test_reporting import SHOWN, json_files, metrics_file

from wagle.attribution import curvature, masks
from wagle.errors import WagleError
from wagle.figures import curvature_sweep, density_budget
from wagle.reporting import agreement, budgets, plots, timing
from wagle.runtime.files import write_json

SHAPES = {"embed": [30, 4], "layers.0.w": [20, 10], "layers.0.norm": [7]}
SIZES = {"embed": 120, "layers.0.w": 200, "layers.0.norm": 7}


def write_mask(path, by_name):
    k = sum(int(mask.sum()) for mask in by_name.values())
    header = dict.fromkeys(("selection", "ratio", "gamma", "ties", "scores_sha256"), "") | {"k": k}
    packed = ((name, [masks.pack(mask)]) for name, mask in by_name.items())
    masks.save([path], SHAPES, packed, [header])
    return str(path)


@pytest.fixture
def files(tmp_path):
    """Estimates and masks of two selections and two seeds, and masks alone of a third."""
    generator = torch.Generator().manual_seed(0)
    estimates, selected, h, mask = {}, {}, {}, {}
    for name in ("gnb", "fisher", "wagle"):
        for seed in (1, 2):
            key = name, seed
            h[key] = {n: torch.rand(shape, generator=generator) for n, shape in SHAPES.items()}
            mask[key] = {
                n: torch.rand(shape, generator=generator) < 0.4 for n, shape in SHAPES.items()
            }
            selected[key] = write_mask(tmp_path / f"{name}{seed}.mask", mask[key])
            if name != "wagle":
                estimates[key] = str(tmp_path / f"{name}{seed}.h")
                curvature.write(estimates[key], h[key], SIZES)
    return estimates, selected, h, mask


def flat(by_name):
    return np.concatenate([tensor.reshape(-1).numpy() for tensor in by_name.values()])


def test_agreements_are_those_of_scipy_and_of_sets(files):
    estimates, selected, h, mask = files
    names = ("gnb", "fisher", "wagle")
    found = agreement.pairs(names, (1, 2), estimates, selected, SHAPES)
    found = found.set_index(["first", "second"])
    assert len(found) == 3 and (found["seeds"] == 2).all()
    rho = [spearmanr(flat(h["gnb", s]), flat(h["fisher", s])).statistic for s in (1, 2)]
    row = found.loc[("gnb", "fisher")]
    assert row["Spearman of h"] == pytest.approx(np.mean(rho))
    assert row["Spearman of h SE"] == pytest.approx(np.std(rho, ddof=1) / 2**0.5)
    sets = {key: set(np.flatnonzero(flat(own))) for key, own in mask.items()}
    for pair in (("gnb", "fisher"), ("gnb", "wagle")):
        first, second = pair
        overlap = [
            len(sets[first, s] & sets[second, s]) / len(sets[first, s] | sets[second, s])
            for s in (1, 2)
        ]
        assert found.loc[pair, "Jaccard of masks"] == pytest.approx(np.mean(overlap))
    assert (
        found.loc[("gnb", "wagle"), "Spearman of h"] != found.loc[("gnb", "wagle"), "Spearman of h"]
    )


def test_of_a_large_model_every_mth_weight_is_ranked(files, monkeypatch):
    estimates, _, h, _ = files
    monkeypatch.setattr(agreement, "RANKED", 100)  # of 327 weights: every third
    found = agreement._flat(estimates["gnb", 1], SHAPES)
    assert found.tolist() == flat(h["gnb", 1])[::3].tolist()


def test_one_number_for_all_weights_has_no_ranks(tmp_path):
    curvature.write(tmp_path / "h", {name: torch.tensor(2.0) for name in SHAPES}, SIZES)
    assert agreement._flat(tmp_path / "h", SHAPES) is None


def test_costs_come_from_the_records(tmp_path, monkeypatch):
    runs = {}
    for i, seconds in enumerate((2.0, 4.0)):
        folder = tmp_path / f"seed-{i}"
        folder.mkdir()
        write_json(folder / "stats.json", {"rows": 6, "mean": 0.5, "negative": 0.25})
        write_json(folder / "score.json", {"share_first_term": 0.75, "share_below_damping": 0.5})
        runs[folder / "manifest.json"] = {"seconds": seconds, "peak_rss_mb": 100.0}
    monkeypatch.setattr(agreement, "run_of", runs.__getitem__)
    scores = [str(path.with_name("score.json")) for path in runs]
    [row] = agreement.costs(["gnb", "gnb"], list(map(str, runs)), scores).to_dict("records")
    assert row["seconds"] == 3 and row["seconds SE"] == pytest.approx(1)
    assert row["share below damping"] == 0.5 and row["retain rows"] == 6 and row["seeds"] == 2


def density(path, selected):
    sizes = [100, 100, 100, 50]
    names = ["embed_tokens", "layers.0.q_proj", "layers.1.q_proj", "norm.weight"]
    frame = pd.DataFrame({"parameter": names, "selected": selected, "size": sizes})
    frame.to_csv(path, index=False)
    return str(path)


def test_divergence_by_hand(tmp_path):
    same, other, hole = (
        pd.read_csv(density(tmp_path / "d", selected))
        for selected in ([30, 30, 30, 10], [60, 20, 10, 10], [0, 45, 45, 10])
    )
    assert budgets.divergence(same, same) == 0
    expected = 0.6 * np.log(2) + 0.2 * np.log(2 / 3) + 0.1 * np.log(1 / 3)
    assert budgets.divergence(other, same) == pytest.approx(expected)
    assert budgets.divergence(hole, same) < np.inf == budgets.divergence(same, hole)


def test_budget_table_has_one_row_a_rule(tmp_path):
    values = {
        ("wagle@gamma-1.0", 1): 0.4,
        ("wagle@gamma-1.0", 2): 0.6,
        ("lamp", 1): 0.3,
        ("lamp", 2): 0.3,
    }
    rows = [(f"npo/{name}/ratio-0.3/seed-{seed}", value) for (name, seed), value in values.items()]
    metrics = metrics_file(tmp_path, rows)
    frame = pd.read_csv(metrics).assign(share_updated=0.3)
    frame.to_csv(metrics, index=False)
    profiles = [[30, 30, 30, 10], [30, 30, 30, 10], [60, 20, 10, 10], [90, 0, 0, 10]]
    densities = [density(tmp_path / f"{i}.csv", p) for i, p in enumerate(profiles)]
    found = budgets.table(
        metrics, [name for name, _ in rows], ["wagle", "lamp"], densities, "UT Avg"
    ).set_index("selection")
    assert found.loc["wagle", "UE Avg"] == 0.5 and found.loc["wagle", "UE Avg SE"] == pytest.approx(
        0.1
    )
    assert found["share updated"].tolist() == [0.3, 0.3]
    assert found.loc["wagle", "KL from wagle"] == 0 < found.loc["lamp", "KL from wagle"]
    assert found["empty tensors"].tolist() == [0, 2]


def test_the_figures_of_curvatures_and_budgets_draw_their_numbers(tmp_path):
    cells = [f"npo/wagle@gamma-{g}/ratio-0.3/seed-1" for g in (0.1, 10.0)]
    cells += [f"npo/{name}/ratio-0.3/seed-1" for name in ("auto", "gnb")]
    cells += ["npo/dense/ratio-all/seed-1"]
    files = {
        "metrics": [metrics_file(tmp_path, [(cell, 0.1 * i) for i, cell in enumerate(cells)])],
        "gradients": json_files(tmp_path, "stats", "norm", [1.0]),
    }
    params = SHOWN | {"cells": cells, "selection": "wagle", "selections": ["auto", "gnb"]}
    params |= {"method": "npo"}
    data = curvature_sweep.table(files, params)
    plots.save(curvature_sweep, data, params, {"png": tmp_path / "a.png"})
    swept = data[(data["metric"] == "UE Avg") & data["gamma"].notna()]
    assert swept["log10(gamma/GN)"].tolist() == [-1, 1]
    assert set(data["selection"]) == {"wagle", "auto", "gnb", "dense"}
    profiles = [[30, 30, 30, 10], [60, 20, 10, 10]]
    densities = [density(tmp_path / f"{i}.csv", p) for i, p in enumerate(profiles)]
    params = {"selections": ["wagle", "lamp"], "ratio": 0.3}
    data = density_budget.table({"densities": densities}, params)
    plots.save(density_budget, data, params, {"png": tmp_path / "b.png"})
    lamp = data[(data["selection"] == "lamp") & (data["grouping"] == "layer")]
    assert lamp["density"].tolist() == [0.2, 0.1] and (lamp["KL"] > 0).all()
    assert all((tmp_path / f"{name}.png").stat().st_size > 10_000 for name in "ab")


def test_times_of_row_gradients_and_curvatures_have_columns_where_there_are_any(monkeypatch):
    monkeypatch.setattr(timing, "seconds", lambda path: 60.0)
    stages = {"unlearn": ["a/b/manifest.json"], "score": ["s/b/manifest.json"]}
    plain = timing.table({"wagle": stages})
    assert "curvature (min)" not in plain
    both = [f"row_gradients/{side}/all/manifest.json" for side in ("forget", "retain")]
    ratio = stages | {"row gradients": both}
    found = timing.table({"wagle": stages, "fisher_ratio": ratio}).set_index("selection")
    assert found.loc["fisher_ratio", "row gradients (min)"] == 2
    assert found.loc["fisher_ratio", "selection in all (min)"] == 3


def test_a_damaged_record_is_not_a_cost(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(WagleError):
        agreement.costs(["gnb"], [str(tmp_path / "manifest.json")], ["score.json"])
