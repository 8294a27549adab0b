"""An installed wagle, not a checkout: its commands run in any folder, with what they read."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from test_interchange import tofu_log

from wagle.runtime.identity import ROOT

PARTS = ["pyproject.toml", "README.md", "LICENSE", "wagle"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """`wagle(*arguments)` in an empty folder, of a library that pip installed."""
    folder = tmp_path_factory.mktemp("installed")
    source, target, start = folder / "source", folder / "site-packages", folder / "start"
    start.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
        source.mkdir(exist_ok=True)
        copy(ROOT / part, source / part)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--target", str(target), str(source)]
    subprocess.run(command, check=True, cwd=folder)
    shutil.rmtree(source)
    env = {k: v for k, v in os.environ.items() if not k.startswith("WAGLE_")}
    env |= {"PYTHONPATH": str(target)}

    def wagle(*arguments):
        command = [sys.executable, "-m", "wagle", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=start, env=env, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return wagle


def test_validate_and_plan(installed):
    config = ROOT / "config" / "config.yaml"
    code, text = installed("validate", config)
    assert code == 0 and "valid, 78 cells" in text
    code, text = installed("plan", ROOT / "config" / "paper-tofu.yaml")
    assert code == 0 and "finetune" in text


def test_metrics(installed, tmp_path):
    (tmp_path / "log.json").write_text(json.dumps(tofu_log(0)))
    code, text = installed("metrics", tmp_path / "log.json")
    assert code == 0 and text.startswith("protocol: tofu")


def test_package_data(installed):
    code, text = installed("harness", "no-model", "--tasks", "nonsense", "--data-dir", ".")
    assert code == 1 and "one of mmlu, wikitext, wmdp_bio, wmdp_cyber" in text


def test_unlearn_says_that_it_needs_the_workflow(installed, checkpoint):
    arguments = ["--model", checkpoint, "--forget", "f", "--retain", "r", "--out", "o"]
    code, text = installed("unlearn", *arguments)
    assert code == 1 and "no workflow in" in text and "a checkout" in text


def test_new_files_need_no_workflow(installed, checkpoint, tmp_path):
    arguments = ["--task", "custom", "--model", checkpoint, "--data", tmp_path, "--gpus", "0"]
    code, text = installed("new", "mine", *arguments)
    assert code == 0 and "written and valid" in text
