"""Would the results come out again? Runs a random sample of jobs once more and compares.

Each job gets the recorded inputs, byte for byte, its own config and this checkout's code, in a
scratch folder. Inputs that were removed after use (checkpoints of unlearned models) are made again
first, and compared too. On a machine of the same kind the same bytes must come out. Elsewhere
numbers may differ by `TOLERANCE`, relative to the largest number beside them
(wagle/audit/distance.py).

Notable: the results folder is only read. Large files are hard links where the scratch folder allows
it; a job never writes into a file that is there, it writes a new one and renames it. Logs are
copies, because they are written in place. This is the one module that starts Snakemake, as a
process. A job gets as many threads as its run.json says.
Left out: figures. Their data are compared, not the pictures.
"""

import json
import math
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from wagle.audit.distance import distance
from wagle.audit.record_graph import Record, list_files, load_records, resolve_input
from wagle.errors import WagleError
from wagle.runtime import handover
from wagle.runtime.files import read_json, sha256_file
from wagle.runtime.records import read_manifest, read_run

TOLERANCE = 1e-3
MACHINE_KEYS = ("python", "packages", "processor", "accelerator")  # of run.json; threads count too
COPY_LIMIT = 2**20  # bytes; larger files are hard links


class Outcome(NamedTuple):
    """What came of one job.

    `kind` is identical, close, different or failed. `distance` is the largest relative difference,
    infinite where there is none to give, and `why` says where it is or what went wrong.
    """

    folder: str
    rule: str
    kind: str
    same_machine: bool
    distance: float
    why: str

    @property
    def is_good(self) -> bool:
        """Identical, or close on another kind of machine."""
        return self.kind == "identical" or (self.kind == "close" and not self.same_machine)


def read_config(results: Path, path: str | None) -> dict:
    """The experiment's config, from the file at `path` or as the audit target recorded it.

    Raises WagleError when there is none, or it is not valid.
    """
    from wagle.experiment import config

    if path is not None:
        return config.load(path)
    recorded = results / "audit" / "config.json"
    if not recorded.is_file():
        raise WagleError(
            f"{results} does not hold its config",
            "results/<experiment>/audit/config.json",
            "name the experiment's file with --configfile, or make the audit target first",
        )
    settings = read_json(recorded)
    config.validate(settings, str(recorded))
    return settings


def sample_jobs(records: dict[str, Record], number: int, seed: int) -> list[str]:
    """Manifests of `number` jobs, sampled without replacement.

    The audit itself is no job to repeat. Raises WagleError when there are fewer jobs.
    """
    jobs = sorted(path for path, record in records.items() if record.manifest["rule"] != "audit")
    if not 1 <= number <= len(jobs):
        raise WagleError(f"--rerun {number}", f"1 to {len(jobs)} jobs")
    return random.Random(seed).sample(jobs, number)


def with_removed_inputs(root: Path, records: dict[str, Record], path: str) -> list[str]:
    """`path` and, before it, the jobs whose files it reads but that are no longer there.

    Raises WagleError when the record of an input is gone.
    """
    jobs: list[str] = []
    for link in records[path].manifest["inputs"]:
        source = resolve_input(records[path], link)
        if source not in records:
            raise WagleError(
                f"{records[path].folder} read {source}, whose record is gone",
                do="make it again first",
            )
        record = records[source]
        if not all((root / record.folder / name).is_file() for name in record.manifest["outputs"]):
            jobs += [p for p in with_removed_inputs(root, records, source) if p not in jobs]
    return [*jobs, path]


def rerun_jobs(
    results: str | Path, number: int, *, seed: int, configfile: str | None, scratch: Path
) -> list[Outcome]:
    """Run `number` jobs, sampled with `seed`, again, and those that must be made again for them.

    `scratch` is an empty folder, best on the file system of `results`. The outcomes are in the
    order in which the jobs ran. Raises WagleError when a job cannot be set up.
    """
    root = Path(results).resolve()
    loaded = load_records(root)
    if loaded.findings:
        broken = loaded.findings[0]
        raise WagleError(f"{broken.path}: {broken.why}", do=f"run wagle audit {results} first")
    records = loaded.records
    copy = _prepare(root, scratch, read_config(root, configfile))
    outcomes: list[Outcome] = []
    for sampled in sample_jobs(records, number, seed):
        jobs = [records[path] for path in with_removed_inputs(root, records, sampled)]
        for job in jobs:
            shutil.rmtree(copy / job.folder)
        error = _run(scratch, copy, records[sampled], {job.manifest["rule"] for job in jobs})
        outcomes += [_outcome(job, root, copy, error) for job in jobs]
        for job in jobs:  # the next job reads what was recorded, not what was just made
            shutil.rmtree(copy / job.folder, ignore_errors=True)
            shutil.copytree(root / job.folder, copy / job.folder)
    return list(dict.fromkeys(outcomes))


def _prepare(root: Path, scratch: Path, config: dict) -> Path:
    """Fill the scratch folder: a copy of the results, the config, links to the project's files.

    Returns the copy of the results.
    """
    copy = scratch / "results" / config["experiment"]
    for name, status in list_files(root).items():
        source, target = root / name, copy / name
        is_plain = source.is_file() and not source.is_symlink()
        if not is_plain or ".part" in name or name.startswith("audit/"):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        is_log = name.startswith(("logs/", "benchmarks/"))
        _copy(source, target, link=status.st_size >= COPY_LIMIT and not is_log)
    for entry in Path.cwd().iterdir():
        if entry.name not in ("results", ".snakemake", "config.json"):
            (scratch / entry.name).symlink_to(entry)
    data_dir = config.get("data_dir")
    settings = config | {"data_dir": data_dir and os.path.abspath(data_dir)}
    (scratch / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    return copy


def _copy(source: Path, target: Path, link: bool) -> None:
    """Copy one file; with `link`, as a hard link where the file system allows it."""
    if link:
        try:
            os.link(source, target)
            return
        except OSError:
            pass
    shutil.copy2(source, target)


def _run(scratch: Path, copy: Path, record: Record, rules: set[str]) -> str:
    """Run one job in the scratch folder. Returns its error message where it failed, else ''."""
    threads = (record.run or {}).get("threads")
    cores = threads if isinstance(threads, int) and threads > 0 else 1
    target = copy.relative_to(scratch) / record.folder / "manifest.json"
    command = [sys.executable, "-m", "snakemake", "--directory", str(scratch)]
    command += ["--snakefile", str(handover.workflow_folder() / "Snakefile")]
    command += ["--configfile", str(scratch / "config.json"), "--cores", str(cores)]
    command += ["--workflow-profile", "none", "--rerun-triggers", "mtime", "--notemp"]
    command += ["--show-failed-logs", "--quiet", "rules"]
    command += ["--allowed-rules", *sorted(rules), "--", str(target)]
    paths = [str(handover.ROOT), str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "WAGLE_WARM": "0"}
    env.pop("WAGLE_FINGERPRINT", None)
    done = subprocess.run(
        command, cwd=scratch, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return ""
    lines = (done.stdout + done.stderr).strip().splitlines()
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or ["no message"])[-1][:300]


def _outcome(record: Record, root: Path, copy: Path, error: str) -> Outcome:
    """What came of one job; `error` is what Snakemake said where it failed."""
    made, rule = copy / record.folder, record.manifest["rule"]
    if not (made / "manifest.json").is_file():
        return Outcome(record.folder, rule, "failed", False, math.inf, error)
    same_machine = _is_same_machine(record.run, read_run(made / "run.json"))
    if sha256_file(made / "manifest.json") == record.digest:
        return Outcome(record.folder, rule, "identical", same_machine, 0.0, "")
    why = _other_job(record.manifest, read_manifest(made / "manifest.json"))
    if why:
        return Outcome(record.folder, rule, "different", same_machine, math.inf, why)
    largest, where = _largest_distance(record, root / record.folder, made)
    kind = "close" if largest <= TOLERANCE else "different"
    return Outcome(record.folder, rule, kind, same_machine, largest, where)


def _is_same_machine(recorded: dict | None, run: dict) -> bool:
    """Did both runs have the same kind of machine, and as many threads where both have any?"""
    if recorded is None or any(recorded.get(key) != run.get(key) for key in MACHINE_KEYS):
        return False
    threads = (recorded.get("threads"), run.get("threads"))
    return None in threads or threads[0] == threads[1]


def _other_job(recorded: dict, made: dict) -> str:
    """Why two manifests are not of the same job; '' where they are."""
    for key in ("params", "wildcards", "raw"):
        if made[key] != recorded[key]:
            return f"{key} are not those recorded: another config, code or data"
    return "" if made["outputs"].keys() == recorded["outputs"].keys() else "other output files"


def _largest_distance(record: Record, kept: Path, made: Path) -> tuple[float, str]:
    """The largest distance of the job's files, in `kept` as recorded and in `made`; and which."""
    outputs = read_manifest(made / "manifest.json")["outputs"]
    largest, where = 0.0, "inputs that were made again"
    for name, entry in record.manifest["outputs"].items():
        if outputs[name]["sha256"] == entry["sha256"]:
            continue
        if not (kept / name).is_file():
            why = f"{name} has other bytes, and the recorded ones were removed after use"
            return math.inf, why
        apart = distance(kept / name, made / name)
        if apart is not None and apart >= largest:
            largest, where = apart, name
    return largest, where


def as_text(outcomes: list[Outcome]) -> str:
    """The outcomes for people, one a line, and how many are as they must be."""
    lines = [_line(outcome) for outcome in outcomes]
    bad = sum(not outcome.is_good for outcome in outcomes)
    good = len(outcomes) - bad
    lines.append(f"{len(outcomes)} jobs run again: {good} as they must be, {bad} not")
    return "\n".join(lines) + "\n"


def _line(outcome: Outcome) -> str:
    machine = "same kind of machine" if outcome.same_machine else "another kind of machine"
    detail = f": {outcome.why}" if outcome.why else ""
    if outcome.kind == "close":
        detail = f", largest relative difference {outcome.distance:.2g} in {outcome.why}"
    return f"{outcome.kind:10s} {outcome.rule}: {outcome.folder} ({machine}{detail})"
