"""`wagle evaluate`: one command from a folder to metrics, answers and a summary."""

import json
import math
import os

import pytest
import yaml
from test_chat import CHATML

from wagle.cli.main import main
from wagle.data.rows import read_rows, write_rows
from wagle.data.synthetic import split
from wagle.errors import WagleError
from wagle.evaluation import generation, scoring
from wagle.experiment import config as experiment
from wagle.experiment import evaluation_only, new_file, templates
from wagle.model import checkpoints
from wagle.reporting import one_model
from wagle.runtime.identity import ROOT

DEFAULT = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


def files(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.jsonl").write_text("{}\n")
    return str(folder)


def test_what_a_folder_holds(tmp_path):
    def rows(folder, protocol="open-unlearning", forget="forget10"):
        return evaluation_only.rows_in(folder, forget, protocol)

    own = files(tmp_path / "own", *evaluation_only.ROLES, "holdout")
    assert rows(own).task == "tofu" and rows(own).splits["holdout"] == {"name": "holdout"}
    names = "forget05 retain95 forget05_perturbed retain_perturbed".split()
    names += ["real_authors_perturbed", "world_facts_perturbed", "holdout05"]
    tofu = files(tmp_path / "tofu", *(f"tofu/{name}" for name in names))
    found = rows(tofu, forget="forget05").splits
    assert found["retain"] == {"name": "tofu/retain95"}
    assert found["holdout"] == {"name": "tofu/holdout05"}
    with pytest.raises(WagleError, match=r"of TOFU's files it lacks forget10, "):
        rows(tofu)
    with pytest.raises(WagleError, match="one of forget01, forget05, forget10"):
        rows(tofu, forget="forget02")
    pair = files(tmp_path / "pair", "forget", "retain")
    assert rows(pair, "wagle").task == "custom"
    with pytest.raises(WagleError, match="lacks forget_perturbed"):
        rows(pair)
    with pytest.raises(WagleError, match="not a folder"):
        rows(str(tmp_path / "none"))


def test_the_experiment_is_valid_and_names_the_models_it_was_given(checkpoint, tmp_path):
    data = files(tmp_path / "own", *evaluation_only.ROLES)
    block = evaluation_only.model_block(str(checkpoint))
    assert new_file.template_of(block) == new_file.QUESTION
    made = evaluation_only.experiment(
        DEFAULT,
        model=block,
        reference=evaluation_only.model_block("a/b@main"),
        data_dir=data,
        forget="forget10",
        protocol="tofu",
        template="chat: Be brief.",
        embedder=None,
        max_length=64,
        max_new_tokens=4,
        token_budget=512,
        precision="fp32",
        gpus=0,
        threads=1,
    )
    experiment.validate(made)
    assert made["evaluation"]["protocols"] == ["wagle", "tofu"]
    assert templates.folders(made) == {"chat: Be brief.": "evaluations"}
    assert made["models"]["retrained"] == {"source": "hub", "name": "a/b", "revision": "main"}
    shapes = json.loads((checkpoint / "parameters.json").read_text()).values()
    assert made["resources"]["parameters"] == sum(map(math.prod, shapes))
    assert experiment.load(ROOT / "config" / "config.yaml") == DEFAULT  # it was copied
    with pytest.raises(WagleError, match=r"no model folder .*none"):
        evaluation_only.model_block(str(tmp_path / "none"))


def test_a_row_has_prompt_truth_and_answer(model, tokenizer, rows):
    splits = {"forget_perturbed": rows["forget_perturbed"][:2]}
    options = {"template": "{question} {answer}", "max_length": 64, "token_budget": 500}
    log = scoring.score(model, tokenizer, splits, **options)
    answers = generation.answer_all(model, tokenizer, splits, max_new_tokens=3, **options)
    lines = one_model.answer_rows(log, answers, lambda question: f"<{question}>")
    assert len(lines) == 4
    first = lines[0]
    row = rows["forget_perturbed"][0]
    assert first["prompt"] == f"<{row['question']}>" and first["truth"] == row["answer"]
    assert first["answer"] == answers[0]["generated"] and 0 <= first["rouge_l_recall"] <= 1
    chosen = (log["row"] == 0) & (log["role"] == "answer") & log["in_span"]
    assert first["truth_loss"] == pytest.approx(-log["log_prob"][chosen].astype(float).mean())
    assert "truth_loss" not in lines[1] and lines[1]["asked"] == "paraphrased"
    about = {"model": "m|n", "protocol": "p"}
    metrics = {"a": {"value": 0.5, "se": 0.25, "n": 4}, "b": {"value": 1.0, "se": None, "n": None}}
    page = one_model.summary(about, metrics, one_model.first_of_each_split(lines, 1))
    assert "| a | 0.5000 | 0.2500 | 4 |" in page and "| b | 1.0000 |  |  |" in page
    assert page.count("forget_perturbed") == 1


@pytest.mark.pipeline
def test_one_command_and_the_same_again(model, tokenizer, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for name in [key for key in os.environ if key.startswith("WAGLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WAGLE_CACHE", str(tmp_path / "cache"))
    tokenizer.chat_template = CHATML.replace("<|im_start|>", "<s>").replace("<|im_end|>", "</s>")
    checkpoints.save(model, tokenizer, tmp_path / "my model")
    tokenizer.chat_template = None
    (tmp_path / "my data").mkdir()
    for role in ("forget", "retain"):
        write_rows(tmp_path / "my data" / f"{role}.jsonl", split(role, 3, 1, 0)[:6])
    command = ["evaluate", "my model", "--data", "my data", "--protocol", "wagle", "--cores", "2"]
    command += ["--out", "my out", "--max-new-tokens", "3"]
    assert main(command) == 0, capfd.readouterr().err[-3000:]
    out = tmp_path / "my out"
    lines = read_rows(out / "rows.jsonl")
    assert len(lines) == 12 and lines[0]["prompt"].startswith("<s>user\n")
    written = json.loads((out / "metrics.json").read_text())
    assert written["metrics"]["UE Avg"]["n"] == 6 and written["template"] == "chat"
    assert "| UE Avg |" in (out / "summary.md").read_text()
    made = (out / "results/evaluation/evaluations/original/tokens.parquet").stat().st_mtime_ns
    capfd.readouterr()
    assert main(["audit", str(out / "results/evaluation")]) == 0
    (out / "rows.jsonl").unlink()
    assert main(command) == 0
    assert read_rows(out / "rows.jsonl") == lines
    path = out / "results/evaluation/evaluations/original/tokens.parquet"
    assert path.stat().st_mtime_ns == made
    with pytest.raises(SystemExit):
        main([*command, "--protocol", "tofoo"])
    assert main([*command[:-1], "4", "--out", "my data"]) == 1
    assert "a new folder for --out" in capfd.readouterr().err
