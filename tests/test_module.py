"""Another workflow includes this one: from a folder, under other names, twice, from a host."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml
from test_workflow import PARTS, tiny, write_outside

from wagle.runtime.identity import ROOT
from wagle.runtime.records import read_manifest

pytestmark = pytest.mark.slow(1)

PLAIN = """configfile: "mine.yaml"

module wagle:
    snakefile: "{root}/Snakefile"
    config: config

use rule * from wagle
"""
TWICE = """configfile: "mine.yaml"

module first:
    snakefile: "{root}/Snakefile"
    config: config

module second:
    snakefile: "{root}/Snakefile"
    config: config | {{"experiment": "other", "seeds": [7]}}

use rule * from first as first_*
use rule * from second as second_*

rule both:
    default_target: True
    input:
        rules.first_all.input,
        rules.second_all.input,
        rules.second_audit.output,
"""
HOSTED = """configfile: "mine.yaml"

module wagle:
    snakefile: github("somebody/wagle", path="Snakefile", commit="{commit}")
    config: config

use rule * from wagle as wagle_*
"""


@pytest.fixture
def including(tmp_path):
    """`run(snakefile, *arguments)` in a folder that holds a config, a score and a method."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "embedder").mkdir()  # plans look for it, and no job here opens it
    (folder / "mine.yaml").write_text(yaml.safe_dump(tiny("embedder"), sort_keys=False))
    write_outside(folder)

    def run(snakefile, *arguments, **env):
        (folder / "Snakefile").write_text(snakefile)
        kept = {k: v for k, v in os.environ.items() if not k.startswith("WAGLE_")}
        path = f"{ROOT}{os.pathsep}{folder}"
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
            cwd=folder,
            env=kept | {"PYTHONPATH": path} | env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        return done.stdout + done.stderr

    return folder, run


def test_a_module_plans_whole_and_runs(including):
    folder, run = including
    snakefile = PLAIN.format(root=ROOT)
    assert "\nreport " in run(snakefile, "--dry-run", "--quiet", "rules")
    run(snakefile, "--until", "check_data")
    check = json.loads((folder / "results/tiny/data/check/check.json").read_text())
    assert check
    left = run(snakefile, "--dry-run", "--quiet", "rules")
    assert "\nbase " in left and "\nsplit " not in left and "\ncheck_data " not in left


def test_two_modules_with_a_config_each_keep_the_rules_own_names_in_their_records(including):
    folder, run = including
    snakefile = TWICE.format(root=ROOT)
    planned = run(snakefile, "--dry-run", "--quiet", "rules")
    assert "\nfirst_report " in planned and "\nsecond_audit " in planned
    run(snakefile, "results/tiny/data/forget/rows.jsonl", "results/other/data/forget/rows.jsonl")
    first, second = (folder / f"results/{e}/data/forget/manifest.json" for e in ("tiny", "other"))
    assert read_manifest(first)["rule"] == "split" and first.read_bytes() == second.read_bytes()


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_straight_from_a_host(including, tmp_path):
    """Git is told that the host's address is a folder here."""
    folder, run = including
    source = tmp_path / "host" / "wagle"
    source.mkdir(parents=True)
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
        copy(ROOT / part, source / part)

    def git(*arguments):
        own = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        done = subprocess.run(
            ["git", *own, *arguments], cwd=source, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "as it is")
    here = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{tmp_path}/host/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/somebody/",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    snakefile = HOSTED.format(commit=git("rev-parse", "HEAD"))
    run(snakefile, "--until", "wagle_check_data", **here)
    left = run(
        snakefile, "--dry-run", "--quiet", "rules", **here
    )  # with the copies that the run left
    assert "\nwagle_report " in left and "\nwagle_split " not in left
    record = read_manifest(folder / "results/tiny/data/check/manifest.json")
    assert record["rule"] == "check_data"
    assert record["params"]["code"].endswith(":workflow/scripts/check_data.py")
