"""A small experiment to do harm to.

It is a copy of the project with three selections of one method, and 30-odd jobs of every rule. The
campaigns (kills, flips) and the tests of audit, lineage, re-runs, comparison and export share it.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import conftest
from test_workflow import Project, make_embedder, tiny

from wagle.data import synthetic
from wagle.model import checkpoints

NOT_COMPARED = ("logs", "benchmarks")  # no record covers them


def config(embedder) -> dict:
    result = json.loads(json.dumps(tiny(embedder)))
    result |= {"keep": ["npo/wagle*/*"]}
    result["selections"] = {
        name: result["selections"][name] for name in ("dense", "wanda", "wagle")
    }
    del result["curvatures"]
    result["methods"] = {"npo": result["methods"]["npo"]}
    result["evaluation"]["protocols"] = ["wagle"]
    result["figures"] = {"density_module": {"selections": ["wagle"], "ratio": 0.5}}
    return result


def project(folder: Path) -> Project:
    """The project's copy and its config below `folder`; nothing has run yet."""
    rows = [row for role in ("forget", "retain") for row in synthetic.split(role, 6, 2, 0)]
    _, tokenizer = checkpoints.scratch(
        conftest.SIZE, [f"{row['question']} {row['answer']}" for row in rows], seed=0
    )
    (folder / "embedder").mkdir(parents=True)
    (folder / "project").mkdir()
    return Project(folder / "project", config(make_embedder(folder / "embedder", tokenizer)))


def start(made: Project, *arguments) -> subprocess.Popen:
    """Snakemake in a process group of its own, as a shell starts it; it writes to run.log."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("WAGLE_")} | {
        "PYTHONPATH": str(made.folder)
    }
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        "2",
        "--configfile",
        "tiny.yaml",
        *arguments,
    ]
    with open(made.folder / "run.log", "a") as log:
        return subprocess.Popen(
            command, cwd=made.folder, env=env, stdout=log, stderr=log, start_new_session=True
        )


def kill(process: subprocess.Popen) -> None:
    """SIGKILL to the whole group."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def artifacts(results: Path) -> dict[str, bytes]:
    """Content of every recorded file and manifest by relative path.

    Run records, logs and time stamps are left out.
    """
    files = (
        path
        for path in sorted(results.rglob("*"))
        if path.is_file() and path.relative_to(results).parts[0] not in NOT_COMPARED
    )
    return {
        str(path.relative_to(results)): path.read_bytes()
        for path in files
        if path.name not in ("run.json", ".snakemake_timestamp")
    }
