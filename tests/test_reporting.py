"""Published cells beside ours, running times from records, examples side by side, plain tables."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from wagle.errors import WagleError
from wagle.evaluation.statistics import difference, holm
from wagle.experiment import tasks
from wagle.experiment.cells import Cell
from wagle.figures import gamma_sweep, methods, precision
from wagle.reporting import differences, examples, frames, plots, published, tables, timing
from wagle.runtime.files import json_text, sha256_file, write_json

HEAD = "method,selection,metric,value,source\n"


def test_published_cells_beside_ours(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text(HEAD + "npo,dense,FQ,0.9,Table 1\nnpo,wagle,FQ,,\n")
    ours = pd.DataFrame(
        {
            "method": ["npo", "npo"],
            "selection": ["dense", "snip"],
            "metric": "FQ",
            "mean": [0.7, 0.5],
            "se": [0.1, None],
        }
    )
    found = published.beside(ours, published.read(path)).set_index("selection")
    assert (
        found.loc["dense", "difference"] == pytest.approx(-0.2)
        and found.loc["dense", "source"] == "Table 1"
    )
    assert found.loc["wagle", ["published", "ours"]].isna().all() and pd.isna(
        found.loc["snip", "difference"]
    )
    assert list(found.index) == ["dense", "wagle", "snip"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "npo,dense,FQ,0.9,\n", "value without a source"),
        (HEAD + "npo,dense,FQ,x,y\n", "cannot be read"),
        ("a,b\n1,2\n", "cannot be read"),
        (HEAD + "npo,dense,FQ,,\nnpo,dense,FQ,,\n", "two rows"),
    ],
)
def test_broken_published_cells_are_refused(tmp_path, text, message):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(WagleError, match=message):
        published.read(tmp_path / "p.csv")


def test_shipped_published_files_cover_their_tables_and_invent_nothing():
    for name in ("tofu", "wmdp", "whp", "detox"):
        task = tasks.load(name).TASK
        frame = published.of_task(task)
        ours = set(tables.metrics_of(task.layouts["wagle"]))
        assert set(task.beside) <= ours and set(frame["metric"]) == ours - set(task.beside)
        assert (
            frame["value"].isna().all()
            or frame.loc[frame["value"].notna(), "source"].str.len().min() > 5
        )


def record(folder, seconds):
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    run = {"seconds": seconds, "manifest_sha256": sha256_file(folder / "manifest.json")}
    write_json(
        folder / "run.json", run | {"sha256": hashlib.sha256(json_text(run).encode()).hexdigest()}
    )
    return str(folder / "manifest.json")


def test_times_add_up(tmp_path):
    sides = {"forget/all": 60, "retain/seed-1": 30, "retain/seed-2": 90}
    jobs = {
        "wagle": {
            "gradients": [record(tmp_path / f"gradients/{name}", s) for name, s in sides.items()],
            "score": [record(tmp_path / "scores/1", 6), record(tmp_path / "scores/2", 18)],
            "mask": [record(tmp_path / "masks/1", 12)],
            "unlearn": [record(tmp_path / "u/1", 60), record(tmp_path / "u/2", 180)],
        },
        "dense": {"unlearn": [record(tmp_path / "u/3", 30)]},
    }
    found = timing.table(jobs).set_index("selection")
    assert found.loc[
        "wagle", ["gradients (min)", "score (min)", "mask (min)"]
    ].tolist() == pytest.approx([2, 0.2, 0.2])
    assert found.loc["wagle", "selection in all (min)"] == pytest.approx(2.4)
    assert found.loc["wagle", ["unlearning (min)", "unlearning SE"]].tolist() == pytest.approx(
        [2, 1]
    )
    assert pd.isna(found.loc["dense", "selection in all (min)"]) and found.loc["dense", "runs"] == 1


def test_a_record_of_another_run_is_not_believed(tmp_path):
    path = record(tmp_path / "a", 1)
    (tmp_path / "a/manifest.json").write_text("{ }")
    with pytest.raises(WagleError, match="is not the record that"):
        timing.seconds(path)
    (tmp_path / "a/run.json").unlink()
    with pytest.raises(WagleError, match="cannot be read: No such file"):
        timing.seconds(path)


def entry(row, generated, **more):
    return {
        "split": "seen",
        "row": row,
        "question": f"q{row}",
        "answer": f"a{row}",
        "generated": generated,
    } | more


def test_examples_stand_side_by_side():
    answers = {
        "Original": [entry(0, "x"), entry(1, "y"), entry(0, "z", asked="paraphrased")],
        "NPO": [entry(0, "w"), entry(1, "v")],
    }
    table = examples.collect(answers, 1)
    assert table[["model", "answer"]].to_numpy().tolist() == [["Original", "x"], ["NPO", "w"]]
    assert examples.side_by_side(table)["text"].tolist() == ["q0", "a0", "x", "w"]
    with pytest.raises(WagleError, match="NPO has no answer to seen row 1"):
        examples.collect(answers | {"NPO": answers["NPO"][:1]}, 2)
    with pytest.raises(WagleError, match="no generated answers"):
        examples.collect({"Original": []}, 2)


def test_plain_tables_survive_awkward_text():
    frame = pd.DataFrame({"a": ["50 % | of\nit_", None], "n": [0.12345, float("nan")]})
    assert frames.markdown(frame).splitlines()[2] == "| 50 % / of it_ | 0.1235 |"
    latex = frames.latex(frame)
    assert r"50 \% | of it\_ & 0.1235 \\" in latex and r"\begin{tabular}{lr}" in latex


def test_labels():
    assert [frames.label(n) for n in ("npo", "graddiff-bf16-1e-5", "random", "retain_x")] == [
        "NPO",
        "GradDiff bf16-1e-5",
        "Random",
        "Retain x",
    ]


ABOUT = {"experiment": "e", "task": "tofu", "protocol": "wagle", "se": 0.1, "n": 10}
SHOWN = {"utility": "UT Avg", "utility_label": "UT Avg (utility)"}


def metrics_file(folder, rows):
    """A collected metrics table with both averages of each cell; `rows` are (cell id, value)."""
    frame = []
    for name, value in rows:
        cell = Cell.parse(name)
        keys = {key: getattr(cell, key) for key in tables.KEYS}
        averages = ("UE Avg", "UT Avg")
        frame += [ABOUT | keys | {"metric": metric, "value": value} for metric in averages]
    pd.DataFrame(frame).to_csv(folder / "metrics.csv", index=False)
    return folder / "metrics.csv"


def json_files(folder, name, key, values):
    paths = [folder / f"{name}-{i}.json" for i in range(len(values))]
    for path, value in zip(paths, values, strict=True):
        write_json(path, {key: value})
    return paths


def test_gamma_axis(tmp_path):
    cells = ["npo/wagle@gamma-10.0/ratio-0.5/seed-1", "npo/dense/ratio-all/seed-1"]
    files = {
        "metrics": [metrics_file(tmp_path, [(cell, 0.5) for cell in cells])],
        "gradients": json_files(tmp_path, "stats", "norm", [0.5, 1.5]),
    }
    data = gamma_sweep.table(files, SHOWN | {"cells": cells}).set_index(["selection", "metric"])
    assert data.loc[("wagle", "UE Avg"), "log10(gamma/GN)"] == pytest.approx(1)
    assert pd.isna(data.loc[("dense", "UE Avg"), "log10(gamma/GN)"])


def test_the_methods_table_says_which_unlearn(tmp_path):
    """By an interval over rows and seeds: the same model before is compared with every seed."""
    gains = {"npo": 0.4, "rmu": 0.0}
    rows = {"original": [0.1 * (i % 3) for i in range(12)]}
    for method, gain in gains.items():
        for seed in (1, 2, 3):
            noise = [0.01 * ((seed * i) % 5 - 2) for i in range(12)]
            values = [x + gain + e for x, e in zip(rows["original"], noise, strict=True)]
            rows[f"{method}/dense/ratio-all/seed-{seed}"] = values
    frame, paths = [], []
    for number, (name, values) in enumerate(rows.items()):
        cell = Cell.parse(name)
        keys = {key: getattr(cell, key) for key in tables.KEYS}
        for metric in ("1-Rouge-L", "UT Avg"):
            value = sum(values) / len(values)
            frame.append(ABOUT | keys | {"metric": metric, "value": value})
        paths.append(tmp_path / f"rows-{number}.json")
        write_json(paths[-1], {"wagle": {"1-Rouge-L": values, "UT Avg": values}})
    pd.DataFrame(frame).to_csv(tmp_path / "metrics.csv", index=False)
    files = {"metrics": [tmp_path / "metrics.csv"], "rows": paths}
    params = SHOWN | {"metric": "1-Rouge-L", "selections": ["dense"], "cells": list(rows)}
    data = methods.table(files, params).set_index(["method", "metric"])
    assert data.loc[("npo", "1-Rouge-L"), "unlearns"] == "yes"
    assert data.loc[("rmu", "1-Rouge-L"), "unlearns"] == "no"
    assert data.loc[("rmu", "1-Rouge-L"), "change"] == "no difference"
    assert data.loc[("npo", "1-Rouge-L"), "difference"] == pytest.approx(0.4, abs=0.01)
    assert data.loc[("npo", "UT Avg"), "unlearns"] == ""
    assert (data["seeds"] == 3).all() and data["covers"].str.startswith("3 paired seeds").all()
    plots.save(methods, data.reset_index(), params, {"png": tmp_path / "methods.png"})


def precision_files(folder):
    """Cells of two precisions, two learning rates, three selections, and what moved in each."""
    training, values, moved = {}, [], []
    for policy in ("fp32", "bf16"):
        for i, lr in enumerate((1e-5, 1e-4)):
            method = f"m-{policy}-{i}"
            training[method] = {"objective": "graddiff", "precision": policy, "lr": lr}
            for j, selection in enumerate(("dense", "magnitude", "wagle")):
                ratio = "all" if selection == "dense" else "0.5"
                values.append((f"{method}/{selection}/ratio-{ratio}/seed-1", 0.5 + 0.1 * j))
                moved.append(1.0 if policy == "fp32" else 0.1 + 0.3 * i - 0.05 * j)
    files = {
        "metrics": [metrics_file(folder, values)],
        "moved": json_files(folder, "moved", "share_moved", moved),
    }
    params = SHOWN | {
        "cells": [cell for cell, _ in values],
        "selections": ["dense", "magnitude", "wagle"],
        "training": training,
    }
    return files, params


def test_the_precision_table_has_shares_and_averages(tmp_path):
    data = precision.table(*precision_files(tmp_path))
    assert len(data) == 3 * 12 and set(data["precision"]) == {"fp32", "bf16"}
    rows = data[(data["metric"] == "share moved") & (data["precision"] == "bf16")]
    low = rows[(rows["lr"] == 1e-5) & (rows["selection"] == "magnitude")]
    assert low["mean"].tolist() == pytest.approx([0.05])


def test_a_figures_bytes_follow_from_its_numbers(tmp_path):
    files, params = precision_files(tmp_path)
    data = precision.table(files, params)
    for name in ("a", "b"):
        paths = {kind: tmp_path / f"{name}.{kind}" for kind in ("svg", "png")}
        plots.save(precision, data, params, paths)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").stat().st_size > 10_000


LAYOUT = {"Unlearning efficacy": ["KS", "extraction strength"], "Utility": ["UT Avg"]}
LOWER = ("extraction strength",)


def collected(values, rows=None):
    """Metrics of {(method, selection, seed): {metric: value}} with an error over rows of 0.02."""
    frame = pd.DataFrame(
        {"experiment": "e", "task": "t", "method": method, "selection": selection}
        | {"ratio": None, "gamma": None, "seed": seed, "protocol": "wagle", "metric": metric}
        | {"value": value, "se": 0.02, "n": 50}
        | {"share_updated": None if selection == "" else 0.8}
        for (method, selection, seed), metrics in values.items()
        for metric, value in metrics.items()
    ).astype({"share_updated": float})
    return frame if rows is None else frame.assign(rows=rows)


def beyond(ks, strength, utility=0.9):
    frame = collected(
        {
            ("retrained", "", None): {"KS": 0.3, "extraction strength": 0.2, "UT Avg": 0.5},
            ("npo", "wagle", 1): {"KS": ks, "extraction strength": strength, "UT Avg": utility},
        }
    )
    return tables.summarise(frame)


@pytest.mark.parametrize(
    ("ks", "strength", "marked"),
    [
        (0.31, 0.19, set()),
        (0.36, 0.2, {"KS"}),  # by more than two errors: 2 * 0.02 * sqrt(2) = 0.057
        (0.35, 0.1, {"extraction strength"}),  # better when lower, so beyond is below
        (0.2, 0.3, set()),
    ],
)
def test_efficacy_beyond_the_retrained_models_is_marked(ks, strength, marked):
    summary = beyond(ks, strength)
    found = tables.beyond_retrained(summary, LAYOUT, LOWER)
    assert {metric for _, _, metric in found} == marked
    for write, dagger in ((tables.markdown, "†"), (tables.html, "†"), (tables.latex, "dagger")):
        text = write(summary, LAYOUT, [], LOWER)
        assert text.count(dagger) == (len(marked) + 1 if marked else 0)  # and the note
        assert ("over-unlearning" in text) == bool(marked)


def test_without_a_retrained_row_nothing_is_beyond_it():
    summary = beyond(1.0, 0.0)
    summary = summary[summary["method"] != "retrained"]
    assert tables.beyond_retrained(summary, LAYOUT, LOWER) == set()
    assert "†" not in tables.markdown(summary, LAYOUT, [], LOWER)


def test_every_table_has_the_share_of_updated_weights():
    summary = beyond(0.31, 0.19)
    lines = tables.markdown(summary, LAYOUT, []).splitlines()
    assert lines[0].startswith("| Method | Selection | share updated | KS |")
    assert lines[2].startswith("| Retrained |  |  | 0.300 |")
    assert lines[3].startswith("| NPO | WAGLE | 0.800 | 0.310 |")
    assert tables.wide(summary, LAYOUT)["share updated"].tolist()[1] == 0.8
    assert ">share updated</th>" in tables.html(summary, LAYOUT, [])
    assert "Method & Selection & share updated & KS" in tables.latex(summary, LAYOUT, [])


def test_differences_of_selections_are_the_engines():
    rng = np.random.default_rng(0)
    cells = {name: rng.random((3, 20)) for name in ("dense", "wagle", "random")}
    values, rows = {}, []
    for name, block in cells.items():
        for seed, row in enumerate(block):
            values["npo", name, seed] = {"UT Avg": row.mean(), "UE Avg": row.max()}
            rows += [{"retain": row.tolist()}, None]
    found = differences.table(collected(values, rows), ["UE Avg", "UT Avg"])
    assert found["metric"].tolist() == ["UE Avg"] * 2 + ["UT Avg"] * 2
    for name in ("wagle", "random"):
        row = found[(found["selection"] == name) & (found["metric"] == "UT Avg")].iloc[0]
        wanted = difference(cells[name], cells["dense"])
        assert row[["difference", "low", "high", "p"]].tolist() == pytest.approx(
            [wanted.value, wanted.low, wanted.high, wanted.p]
        )
        assert row["covers"] == "3 paired seeds and paired rows" and row["rows"] == 20
    assert found["p (Holm)"].tolist() == pytest.approx(holm(found["p"].tolist()))
    alone = differences.table(collected({k: v for k, v in values.items() if k[2] == 0}, rows[::3]),
                              ["UE Avg"])  # fmt: skip
    assert alone["se"].isna().all() and alone["covers"].str.startswith("nothing").all()


def test_rows_are_attached_to_their_cell_protocol_and_metric(tmp_path):
    frame = collected(
        {("npo", "dense", 1): {"KS": 0.1, "FQ": 0.2}, ("original", "", None): {"KS": 0.0}}
    )
    for name, value in (("a", [1.0]), ("b", [2.0])):
        write_json(tmp_path / f"{name}.json", {"wagle": {"KS": {"forget": value}}})
    paths = {"npo/dense/ratio-all/seed-1": tmp_path / "a.json", "original": tmp_path / "b.json"}
    frame = frame.astype({"seed": "Int64"})
    rows = tables.with_rows(frame, paths)["rows"].tolist()
    assert rows == [{"forget": [1.0]}, None, {"forget": [2.0]}]
