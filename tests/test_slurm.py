"""The Slurm profile on a real one-node Slurm.

A fault costs one job, and every table has the bytes of an undisturbed local run.

    pytest -m slurm     (tests/slurm_node.py says what that needs; `make test` leaves these out)

Each test copies a finished local run, removes what comes after one stage, and lets the cluster make
it again.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from slurm_node import SlurmNode, UnavailableError
from test_workflow import Project, embedder, tiny

from wagle.runtime.files import sha256_file
from wagle.runtime.records import read_manifest

pytestmark = pytest.mark.slurm

# A score that once holds 1.2 GB, for longer than the node's interval between checks. And a method
# that waits in its second step if the project has a file `hold`. By then the state of the first
# step is saved (WAGLE_RESUME_SECONDS=0).
HUNGRY = '''"""The weights themselves, at the price of some memory."""

import time

NEEDS = ()
SELECT = "global"
held = []


def score(weight):
    if not held:
        held.append(bytearray(1_200_000_000))
        time.sleep(3)
    return weight
'''
SLOW = '''"""Gradient ascent, which can be held."""

import time
from pathlib import Path

FORGET_LABELS = "answer"
NEEDS = ()


def loss(forget, retain):
    if Path("hold").exists() and any(Path("results").rglob("resume.part/state.safetensors")):
        Path("hold").rename("held")
        time.sleep(300)
    return -forget.mean, retain.mean
'''
CELL = "slow/hungry/ratio-0.5/seed-1"
STAGES = [
    "models",
    "scores",
    "masks",
    "unlearned",
    "evaluations/slow",
    "metrics/slow",
    "collected",
    "tables",
    "figures",
    "report",
]
# The profile's waits are for a busy cluster.
HASTE = "--slurm-init-seconds-before-status-checks 3 --max-status-checks-per-second 1".split()


def experiment(model):
    config = tiny(model)
    del config["curvatures"]
    config |= {
        "keep": [],
        "selections": {"hungry": {"module": "hungry"}},
        "examples": {"rows": 1, "selections": ["hungry"]},
    }
    config["methods"] = {
        "slow": {"module": "slow", "lr": 1.0e-3, "epochs": 1, "weight_decay": 0.1, "ratio": 0.5}
    }
    config["figures"] = {"density_module": {"selections": ["hungry"], "ratio": 0.5}}
    config["resources"] |= {
        "base_mb": 2000,
        "gpu": 1,
        "gpu_stages": ["finetune", "unlearn", "evaluate"],
    }
    return config


def until(condition, what, seconds=300):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.1)
    return result


@pytest.fixture(scope="module")
def node():
    try:
        with SlurmNode() as running:
            yield running
    except UnavailableError as reason:
        pytest.skip(f"no Slurm: {reason}")


@pytest.fixture(scope="module")
def truth(tmp_path_factory, embedder):
    """The experiment, finished by an undisturbed local run."""
    project = Project(tmp_path_factory.mktemp("truth"), experiment(embedder))
    (project.folder / "hungry.py").write_text(HUNGRY)
    (project.folder / "slow.py").write_text(SLOW)
    (project.folder / "slurm").symlink_to("profiles/slurm")
    code, text = project.snakemake(WAGLE_PLACEHOLDER_GPUS="1")
    assert code == 0, text[-6000:]
    return project


class ClusterRun:
    """A copy of the finished experiment without its later stages, for `--profile slurm`."""

    def __init__(self, node, truth, folder, first):
        shutil.copytree(truth.folder, folder, symlinks=True)
        self.node, self.truth, self.folder, self.process = node, truth, folder, None
        self.results, self.output = folder / "results" / "tiny", folder / "output.txt"
        for stage in STAGES[STAGES.index(first) :]:
            shutil.rmtree(self.results / stage)

    def command(self, *arguments):
        return [sys.executable, "-m", "snakemake", "--configfile", "tiny.yaml", *arguments]

    @property
    def env(self):
        return {k: v for k, v in self.node.env.items() if not k.startswith("WAGLE_")} | {
            "PYTHONPATH": str(self.folder),
            "WAGLE_RESUME_SECONDS": "0",
            "WAGLE_PLACEHOLDER_GPUS": "1",
        }

    def start(self, *arguments):
        with open(self.output, "w") as output:
            command = self.command("--profile", "slurm", *HASTE, *arguments)
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=self.env, stdout=output, stderr=output
            )

    def finish(self, seconds=1500):
        """(exit code, output) of the run under way."""
        code = self.process.wait(seconds)
        return code, self.output.read_text()

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.node.run("scancel", "--user", str(os.getuid()))
        until(lambda: not self.node.run("squeue", "-h").stdout.strip(), "the node to be idle", 30)

    def job(self, rule, state="RUNNING"):
        """Id of the Slurm job of `rule` that is in `state`; waits for it."""
        ids = until(
            lambda: [i for i, what in self.node.jobs(state).items() if f"rule_{rule}_" in what],
            f"{rule} {state}",
        )
        return ids[0]

    def script(self, rule):
        """Process id of the running script of `rule`."""

        def look():
            for entry in Path("/proc").glob("[0-9]*"):
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    if os.readlink(entry / "cwd") == str(self.folder) and any(
                        w.endswith(f".{rule}.py".encode()) for w in words
                    ):
                        return int(entry.name)
                except OSError:
                    continue
            return None

        return until(look, f"the script of {rule}")

    def caught(self):
        """Slurm job and process ids of an unlearning job in its second step.

        None of the files that it leaves there may look whole.
        """
        (self.folder / "hold").touch()
        self.start()
        until((self.folder / "held").exists, "unlearning to be at work")
        folder = self.results / "unlearned" / CELL
        assert (folder / "resume.part").exists()
        assert not any(
            (folder / name).exists() for name in ("manifest.json", "train.jsonl", "checkpoint")
        )
        return self.job("unlearn"), self.script("unlearn")

    def check(self):
        """Every file is there with the undisturbed run's bytes, and none is half-written."""
        kinds = [f"tables/**/*.{kind}" for kind in ("csv", "md", "tex")]
        kinds += ["figures/**/*.csv", "collected/*.csv", "**/manifest.json"]
        files = {
            p.relative_to(self.truth.results): p
            for kind in kinds
            for p in self.truth.results.glob(kind)
        }
        expected = {
            name: path.read_bytes()
            for name, path in files.items()
            if not {"table4", "report"} & set(name.parts)
        }  # times
        assert len(expected) > 30
        actual = {
            name: (self.results / name).read_bytes()
            for name in expected
            if (self.results / name).exists()
        }
        different = [str(name) for name in sorted(expected) if actual.get(name) != expected[name]]
        assert not different
        assert not list(self.results.rglob("*.part"))
        for manifest in self.results.rglob("manifest.json"):
            for name, entry in read_manifest(manifest)["outputs"].items():
                file = manifest.parent / name
                if "unlearned" not in file.parts:  # a checkpoint there is temporary
                    assert sha256_file(file) == entry["sha256"], file


@pytest.fixture
def begin(node, truth, tmp_path):
    runs = []

    def make(first):
        runs.append(ClusterRun(node, truth, tmp_path / "project", first))
        return runs[-1]

    yield make
    for run in runs:
        run.end()


def test_a_whole_run_equals_the_local_one_and_has_nothing_left_to_do(begin):
    run = begin("models")
    run.start()
    code, text = run.finish()
    assert code == 0, text[-6000:]
    run.check()
    run.start()
    code, text = run.finish()
    assert code == 0 and "Nothing to be done" in text


def test_a_job_that_needs_more_memory_gets_it_on_its_second_attempt(begin):
    run = begin("scores")
    config = run.truth.config | {"resources": run.truth.config["resources"] | {"base_mb": 1300}}
    (run.folder / "tiny.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    run.start()
    code, text = run.finish()
    assert code == 0, text[-6000:]
    listed = run.node.run(
        "squeue", "-h", "-t", "all", "-o", "%T %m %k", "--sort", "i"
    ).stdout.splitlines()
    attempts = [line.split()[:2] for line in listed if "rule_score_" in line][-2:]
    assert [state for state, _ in attempts] in (
        ["FAILED", "COMPLETED"],
        ["OUT_OF_MEMORY", "COMPLETED"],
    )
    first, second = (int(memory.rstrip("M")) for _, memory in attempts)
    assert abs(second - 2 * first) <= 1  # both are rounded down
    run.check()


@pytest.mark.parametrize("how", ["SIGKILL", "scancel"])
def test_a_job_that_is_ended_runs_again(begin, how):
    run = begin("unlearned")
    job, script = run.caught()
    if how == "scancel":
        run.node.run("scancel", job)
    else:
        os.kill(script, signal.SIGKILL)
    code, text = run.finish()
    message = {
        "SIGKILL": "Trying to restart job",
        "scancel": f"'{job}' failed, SLURM status is: 'CANCELLED'",
    }[how]
    assert code == 0 and message in text, text[-6000:]
    run.check()


def test_a_killed_controller_is_recovered_from_by_the_readmes_steps(begin):
    run = begin("unlearned")
    job, _ = run.caught()
    run.process.kill()
    run.process.wait()
    assert job in run.node.jobs("RUNNING")  # nobody waits for it any more
    run.node.run("scancel", job)
    until(lambda: not run.node.jobs("RUNNING", "COMPLETING"), "the cancelled job to end")
    subprocess.run(
        run.command("--unlock"), cwd=run.folder, env=run.env, check=True, capture_output=True
    )
    run.start()
    code, text = run.finish()
    assert code == 0, text[-6000:]
    run.check()


def test_a_controller_that_gives_no_states_for_half_a_minute_is_waited_for(begin):
    run = begin("unlearned")
    run.start()
    run.script("unlearn")
    run.node.stop("slurmctld")
    time.sleep(30)
    assert run.process.poll() is None
    run.node.start_controller()
    code, text = run.finish()
    assert code == 0 and "Trying to restart job" not in text, text[-6000:]
    run.check()


def test_a_full_disk_stops_one_job_with_its_reason(begin):
    run = begin("unlearned")
    full = run.results / "unlearned" / CELL
    full.mkdir(parents=True)
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", full], check=False, capture_output=True
    ).returncode:
        pytest.skip("this machine does not let us mount a small file system")
    try:
        run.start("--retries", "0")
        code, text = run.finish()
        assert code != 0 and re.search(r"^ *error: .*No space left on device", text, re.M), text[
            -6000:
        ]
        assert not (full / "manifest.json").exists() and not (full / "checkpoint").exists()
        assert (
            not (run.results / "evaluations" / CELL).exists()
            and not (run.results / "collected").exists()
        )
    finally:
        subprocess.run(["umount", full], check=True)
    run.start()
    code, text = run.finish()
    assert code == 0, text[-6000:]
    run.check()


EDITS = {
    "config": ("tiny.yaml", "weight_decay: 0.1", "weight_decay: 0.2"),
    "code": ("slow.py", "-forget.mean", "-2 * forget.mean"),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edit_while_jobs_are_queued_stops_the_run(begin, what):
    run = begin("unlearned")
    file, old, new = EDITS[what]
    run.node.run(
        "scontrol",
        "update",
        "NodeName=" + os.uname().nodename.partition(".")[0],
        "State=DRAIN",
        "Reason=test",
    )
    try:
        run.start("--retries", "0")
        run.job("unlearn", "PENDING")
        text = (run.folder / file).read_text()
        (run.folder / file).write_text(text.replace(old, new))
    finally:
        run.node.run(
            "scontrol",
            "update",
            "NodeName=" + os.uname().nodename.partition(".")[0],
            "State=RESUME",
        )
    code, output = run.finish()
    assert code != 0 and "changed while this run was under way" in output, output[-6000:]
    assert not (run.results / "unlearned" / CELL / "manifest.json").exists()
    (run.folder / file).write_text(text)
    run.start()
    code, output = run.finish()
    assert code == 0, output[-6000:]
    run.check()
