"""`wagle unlearn` on a tiny model: one command from two files to a model and a page."""

import fnmatch
import json
import os
import re
import subprocess
import sys

import pytest
from transformers import AutoModelForCausalLM

from wagle.audit import model_card
from wagle.audit.check import PROBLEMS, audit_folder
from wagle.cli import unlearn
from wagle.cli.main import main
from wagle.data import synthetic
from wagle.data.rows import write_rows
from wagle.experiment import config, grid, new_file
from wagle.model import checkpoints
from wagle.reporting import before_after
from wagle.runtime.files import write_json
from wagle.runtime.identity import ROOT

pytestmark = pytest.mark.slow(1)


@pytest.fixture(scope="module")
def files(tmp_path_factory, _tiny):
    """A model folder and two files, 24 rows to forget and 24 to keep."""
    folder = tmp_path_factory.mktemp("own")
    checkpoints.save(*_tiny, folder / "model")
    for role in ("forget", "retain"):
        rows = synthetic.split(role, 8, 4, 0)
        rows = [{key: row[key] for key in ("question", "answer")} for row in rows]
        write_rows(folder / f"{role}.jsonl", rows)
    return folder


def command(files, *more):
    result = ["unlearn", "--model", files / "model", "--forget", files / "forget.jsonl"]
    result += ["--retain", files / "retain.jsonl", "--out", files / "out", "--gpus", "0"]
    result += ["--epochs", "1", "--max-new-tokens", "4"]
    return [*map(str, result), *more]


def run(files, *more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("WAGLE_")}
    done = subprocess.run(
        [sys.executable, "-m", "wagle", *command(files, "--cores", "2", *more)],
        cwd=files,
        env=env | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.pipeline
def test_one_command_gives_a_model_a_page_and_honest_words(files):
    code, text = run(files, "--lr", "1e-3", "--licence", "mit")
    assert code == 0, text[-6000:]
    out = files / "out"
    model = AutoModelForCausalLM.from_pretrained(out / "model")
    assert (
        model.num_parameters()
        == AutoModelForCausalLM.from_pretrained(files / "model").num_parameters()
    )
    card = (out / "model/README.md").read_text()
    assert "license: mit" in card and str(files / "model") in card
    hashes = json.loads((out / "results/own/data/check/check.json").read_text())
    assert all(hashes[role]["sha256"] in card for role in ("forget", "retain"))
    summary = json.loads((out / "summary.json").read_text())
    assert summary["forget_rows"] == 24 and summary["lr"] == 1e-3
    page = (out / "page.html").read_text()
    # a random model knows nothing, and both places say so
    assert "hardly knew" in page and "hardly knew" in text
    assert not re.search(r'(src|href)="(?!#)', page) and "{{" not in page
    audit = audit_folder(out / "results/own")
    assert not [finding for finding in audit.findings if finding.kind in PROBLEMS]
    runs = sorted((out / "results/own").rglob("run.json"))
    stamps = {path: path.stat().st_mtime_ns for path in runs}
    code, text = run(
        files, "--lr", "1e-3", "--licence", "apache-2.0"
    )  # nothing is to do but a new card
    assert code == 0, text[-3000:]
    assert {path: path.stat().st_mtime_ns for path in runs} == stamps
    assert "license: apache-2.0" in (out / "model/README.md").read_text()


def test_faults_are_one_line_before_any_work(files, tmp_path, capsys):
    def error(*more):
        assert main([*command(files), "--out", str(tmp_path / "out"), *more]) == 1
        [line] = [s for s in capsys.readouterr().err.splitlines() if s.startswith("error:")]
        assert not (tmp_path / "out/results").exists()
        return line

    (tmp_path / "column.jsonl").write_text('{"prompt": "a", "answer": "b"}\n')
    (tmp_path / "broken.jsonl").write_text('{"question": "a"\n')
    (tmp_path / "empty.jsonl").write_text("")
    assert "no column 'question'" in error("--forget", str(tmp_path / "column.jsonl"))
    assert "line 1" in error("--forget", str(tmp_path / "broken.jsonl"))
    assert "empty" in error("--forget", str(tmp_path / "empty.jsonl"))
    assert "both forget and retain" in error("--forget", str(files / "retain.jsonl"))
    assert "no file" in error("--forget", str(tmp_path / "absent.jsonl"))
    assert "ratio" in error("--ratio", "1.5")
    assert "no model folder" in error("--model", "./absent")


def written(files, monkeypatch, *more):
    """The experiment that the command writes; nothing runs."""
    stopped = 3
    monkeypatch.setattr(unlearn, "snakemake", lambda *arguments, **options: stopped)
    assert main(command(files, *more)) == stopped
    return config.load(files / "out/experiment.yaml")


def test_the_search_is_judged_on_rows_of_its_own_where_there_are_enough(files, monkeypatch):
    searched = written(files, monkeypatch)
    assert searched["tuning"]["lrs"] == list(new_file.default_lrs(10**6))
    assert searched["tuning"]["rows"]["share"] == 0.5
    assert "rows" not in written(files, monkeypatch, "--rows", "12")["tuning"]
    assert "tuning" not in written(files, monkeypatch, "--lr", "1e-3")
    for made in (searched, written(files, monkeypatch, "--lr", "1e-3", "--selection", "dense")):
        [cell] = [cell for cell in grid.table_cells(made) if cell.selection]
        assert any(fnmatch.fnmatch(cell.id, pattern) for pattern in made["keep"])


def test_one_run_at_a_time(files, capsys):
    with unlearn.locked(files / "out"):
        assert main(command(files)) == 1
    assert "another command runs in" in capsys.readouterr().err


def test_the_search_as_it_is_shown(files, monkeypatch, tmp_path):
    made = written(files, monkeypatch, "--lrs", "1e-3", "1e-4")
    [cell] = [cell for cell in grid.table_cells(made) if cell.selection]
    point = {"lr": 1e-4, "met": False, "ends": ["lowest lr"], "least": 0.5}
    (tmp_path / f"tuning/picks/{cell.group}").mkdir(parents=True)
    write_json(tmp_path / f"tuning/picks/{cell.group}/point.json", point)
    for number, trial in enumerate(grid.all_trials(made)):
        folder = tmp_path / "tuning/metrics" / trial.id
        folder.mkdir(parents=True)
        values = {"UE Avg": 0.9 - number, "UT Avg": 0.1 + number, "degenerate": 0.0}
        metrics = {name: {"value": value} for name, value in values.items()}
        write_json(folder / "metrics.json", {"wagle": metrics})
    search = before_after._search(tmp_path, made, cell)
    assert [point["lr"] for point in search.points] == [1e-4, 1e-3] and search.rows_apart
    assert search.points[1]["UE Avg"] == 0.9 and search.at_least == 0.95
    [sentence] = before_after._of_search(search)
    assert "no learning rate satisfied" in sentence and "0.0001" in sentence


def test_the_card_of_a_tuned_cell_has_its_point():
    assert model_card._picked({"lr": 1e-4, "ratio": 0.9}) == {
        "share of weights updated": 0.9,
        "peak learning rate": 1e-4,
    }
    assert model_card._picked({"lr": 1e-4, "ratio": None}) == {"peak learning rate": 1e-4}


def outcome(known, efficacy, broken=0.0, search=None):
    numbers = [
        before_after.Number("UE Avg", "", 0.3, 0.01, *efficacy, 0.01, False),
        before_after.Number("UT Avg", "", 0.8, 0.01, 0.8, 0.01, 0.01, False),
        before_after.Number("general PPL", "", 10.0, 0.1, 20.0, 0.1, None, True),
    ]
    fields = dict.fromkeys(before_after.Outcome.__dataclass_fields__)
    fields |= {"numbers": tuple(numbers), "known": known, "still": 1, "n": 20}
    fields |= {"degenerate": (0.0, broken), "search": search}
    return before_after.Outcome(**fields)


def test_what_a_reader_must_know_is_said():
    def said(*arguments, **more):
        return " ".join(before_after.verdicts(outcome(*arguments, **more)))

    assert "hardly knew" in said(1, (0.9, 0.01)) and "hardly knew" not in said(2, (0.9, 0.01))
    assert "knew part" in said(9, (0.9, 0.01))
    assert "not more than chance" in said(20, (0.31, 0.01))
    assert "not more than chance" not in said(20, (0.9, 0.01))
    assert "collapsed" in said(20, (0.9, 0.01), broken=0.3)
    assert "general text suffered" in said(20, (0.9, 0.01))
    missed = before_after.Search(1e-5, False, (), 0.95, 0.76, (), False)
    assert "no learning rate satisfied" in said(20, (0.9, 0.01), search=missed)
    assert "too few rows" in said(20, (0.9, 0.01), search=missed)
