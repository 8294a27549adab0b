"""`wagle new`: files that are valid for every task, and what they are filled in from."""

import json
from pathlib import Path

import pytest
import yaml

from wagle.cli.main import main
from wagle.errors import WagleError
from wagle.experiment import config, new_file
from wagle.runtime.files import sha256_file


@pytest.mark.parametrize("task", new_file.TASKS)
def test_a_new_file_is_a_valid_experiment(task, checkpoint, model, tmp_path, capsys):
    out = tmp_path / "mine.yaml"
    command = ["new", "mine", "--task", task, "--model", str(checkpoint), "--gpus", "0"]
    command += ["--data", str(tmp_path), "--out", str(out), "--threads", "3"]
    assert main(command) == 0
    written = config.load(out)
    assert written["task"] == task and written["resources"]["threads"] == 3
    weights = sum(parameter.numel() for parameter in model.parameters())
    assert written["resources"]["parameters"] == weights
    before = sha256_file(out)
    assert main(command) == 1 and "exists" in capsys.readouterr().err
    assert sha256_file(out) == before


def request(**more):
    block = {"source": "path", "path": "/nowhere"}
    files = {"forget": "forget", "retain": "retain", "general": None, "holdout": None}
    return new_file.Request("x", "custom", block, "data", 10**6, "counted", files=files, **more)


@pytest.mark.parametrize("lr", [1e-5, 3e-05, 2.5e-7, 0.5, 1.0, 1e3])
def test_learning_rates_are_read_back_as_they_were_given(lr):
    read = yaml.safe_load(new_file.experiment_text(request(lr=lr)))
    assert read["methods"]["npo"]["lr"] == lr
    read = yaml.safe_load(new_file.experiment_text(request(lrs=(lr, 2 * lr))))
    assert read["tuning"]["lrs"] == [lr, 2 * lr]


def test_faults_are_found_before_a_file_is_written():
    with pytest.raises(WagleError, match="task 'tufo'"):
        new_file.experiment_text(new_file.Request("x", "tufo", {}, "data", 1, ""))
    with pytest.raises(WagleError, match="ratio"):
        new_file.experiment_text(request(ratio=1.5))
    with pytest.raises(WagleError, match="wagel"):
        new_file.experiment_text(request(selections=("wagel",)))


def test_models_are_folders_or_names_of_the_hub(checkpoint, tmp_path):
    assert new_file.model_block(str(checkpoint))["source"] == "path"
    block = new_file.model_block("owner/model@abc")
    assert block == {"source": "hub", "name": "owner/model", "revision": "abc"}
    for wrong in ("./nowhere", str(tmp_path / "nowhere"), "model"):
        with pytest.raises(WagleError, match="no model folder"):
            new_file.model_block(wrong)
    with pytest.raises(WagleError, match=r"no config\.json"):
        new_file.model_block(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(WagleError, match=r"no \.safetensors file"):
        new_file.model_size(new_file.model_block(str(tmp_path)))
    (tmp_path / "model.safetensors").write_bytes(b"not one")
    with pytest.raises(WagleError, match="not a safetensors file"):
        new_file.model_size(new_file.model_block(str(tmp_path)))


def test_a_chat_template_is_taken_where_there_is_one(tmp_path):
    block = {"source": "path", "path": str(tmp_path)}
    assert new_file.template_of(block) == new_file.QUESTION
    settings = Path(tmp_path / "tokenizer_config.json")
    settings.write_text(json.dumps({"chat_template": "{{ messages }}"}))
    assert new_file.template_of(block) == "chat"
