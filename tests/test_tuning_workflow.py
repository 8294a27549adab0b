"""Tuning in the workflow: trials, picks and tuned cells of a tiny experiment, and exact re-runs."""

import json

import pandas as pd
import pytest
from small import project as small_project
from test_workflow import SUMMARY, cells, configure, edit, rules

from wagle.attribution import masks
from wagle.runtime.files import read_json
from wagle.runtime.records import read_manifest

PICKED = {"pick", "tuned_mask", "tuning_tables"}
REDONE = {"unlearn", "evaluate", "metrics", "timing", *SUMMARY, *PICKED}
TUNING = {
    "lrs": [1.0e-3, 2.0e-3],
    "ratios": [0.25],
    "lrs_without_ratio": [1.0e-3, 2.0e-3],
    "seeds": [7],
    "rule": {"maximise": "UE Avg", "subject_to": {"UT Avg": {"at_least": 0.5, "of": "original"}}},
    "rows": {"share": 0.5, "seed": 0},
}


def tuned(config):
    result = json.loads(json.dumps(config)) | {"tuning": TUNING, "keep": []}
    result.pop("examples", None)
    matched = {"module": "wagle.scores.wanda", "matched": True}
    result["selections"] = {
        "dense": {},
        "wagle": {"gamma": 1e-6},
        "wanda-matched": matched,
        "random_rows": {},
    }
    result["data"]["synthetic"]["authors_total"] = 6
    return result | {"figures": {"trade_off": {}}}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    made = small_project(tmp_path_factory.mktemp("tuned"))
    made.config = tuned(made.config)
    made.write(made.config)
    code, text = made.snakemake()
    assert code == 0, text[-6000:]
    return made


def test_nothing_to_do_afterwards(project):
    assert project.planned() == set()


def test_tuned_cells_have_the_picked_point(project):
    root = project.results
    for selection in ("wagle@gamma-1e-06", "wanda-matched"):
        point = read_json(root / f"tuning/picks/npo/{selection}/point.json")
        assert point["ratio"] == 0.25 and point["lr"] in TUNING["lrs"] and point["points"] == 2
        [mask] = (root / "masks" / selection).rglob("tuned/npo/mask.safetensors")
        header = masks.read_header(mask)
        assert header["ratio"] == "0.25" and header["k"] == round(0.25 * header["n"])
        cell = root / f"unlearned/npo/{selection}/tuned/seed-1"
        rates = [json.loads(line)["lr"] for line in (cell / "train.jsonl").open()]
        assert max(rates) == pytest.approx(point["lr"])
        read = read_manifest(cell / "manifest.json")["inputs"]
        assert any(f"tuning/picks/npo/{selection}/" in name for name in read)
    density = pd.read_csv(mask.parent / "density.csv")
    outside = ~density["parameter"].str.contains("proj")
    assert (density.loc[outside, "selected"] == 0).all()
    free = pd.read_csv(next((root / "masks/random_rows").rglob("tuned/npo/density.csv")))
    assert (free.loc[outside, "selected"] == free.loc[outside, "size"]).all()


def test_trials_and_reported_cells_share_no_row(project):
    root = project.results
    sides = [
        read_json(root / folder / "metrics/original/metrics.json", strict=False)["wagle"]
        for folder in (".", "tuning")
    ]
    whole = len((root / "data/forget_perturbed/rows.jsonl").read_text().splitlines())
    assert sum(side["1-FA"]["n"] for side in sides) == whole
    collected = pd.read_csv(root / "collected/metrics.csv")
    assert 7 not in set(collected["seed"]) and set(collected["tuned"]) == {True, False}
    trials = pd.read_csv(root / "tables/tuning/trials.csv")
    assert len(trials) == 2 + 4 * 2 and (trials["picked"] == "yes").sum() == 4
    table = pd.read_csv(root / "tables/table1/wagle/table1.csv").set_index("selection")
    assert "ratio 0.25" in table.loc["wagle", "tuned point"]
    claims = pd.read_csv(root / "tables/claims/claims.csv")
    assert "matched form" in claims and not claims["verdict"].str.contains("not tuned").all()
    assert "Picked points" in (root / "report/report.html").read_text()


def new_rate(config):
    config["tuning"] |= {"lrs": [1.0e-3, 3.0e-3], "lrs_without_ratio": [1.0e-3, 3.0e-3]}


CHANGES = {
    "a tuning rate": (
        configure(new_rate),
        REDONE | {"trial_metrics"},
        lambda cell: "/lr-0.003/" in cell or "/tuned/" in cell,
    ),
    "the rule": (
        configure(lambda c: c["tuning"]["rule"]["subject_to"]["UT Avg"].update(at_least=0.4)),
        REDONE,
        lambda cell: "/tuned/" in cell,
    ),
    "a score's code": (
        edit("wagle/scores/wagle.py", "return first - second", "return first - 1.0 * second"),
        REDONE | {"score", "mask", "trial_metrics"},
        lambda cell: "/wagle@" in cell,
    ),
    "the rate that tuning replaces": (
        configure(lambda c: c["methods"]["npo"].update(lr=9.0e-3, ratio=0.9)),
        set(),
        None,
    ),
    "a figure's code": (
        edit("wagle/figures/trade_off.py", "markersize=7", "markersize=8"),
        {"figure", "report"},
        None,
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_reruns_what_it_touches_and_nothing_else(project, name):
    change, expected, fits = CHANGES[name]
    files = [*project.folder.glob("wagle/**/*.py")]
    saved = {file: file.read_text() for file in files}
    try:
        change(project)
        jobs = project.planned()
    finally:
        for file, text in saved.items():
            if file.read_text() != text:
                file.write_text(text)
        project.write(project.config)
    assert rules(jobs) == expected
    if fits:
        assert cells(jobs) and all(map(fits, cells(jobs)))
