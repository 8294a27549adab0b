"""Would it come out again? Some jobs of a results folder, drawn at random, run once more in a scratch folder and compared.

Each job gets the recorded inputs, byte for byte, its own config and this checkout's code; inputs that were removed after use
(checkpoints of unlearned models) are made again first, and compared too. On a machine of the same kind the same bytes must come
out. Elsewhere numbers may differ by `TOLERANCE`, relative to the largest number beside them (wagle/audit/distance.py).

Notable: the results folder is only read. Large files are hard links where the scratch folder allows it; a job never writes into a
file that is there, it writes a new one and renames it. Logs are copies, for those are written in place.
The one module that starts the workflow engine, as a process; run.json says how many threads a job had, and it gets as many.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from wagle.audit import audit
from wagle.audit.audit import Record
from wagle.audit.distance import distance
from wagle.errors import WagleError
from wagle.runtime import handover
from wagle.runtime.files import read_json, sha256_file
from wagle.runtime.records import read_manifest, read_run

TOLERANCE = 1e-3
SAME = (
    "python",
    "packages",
    "processor",
    "accelerator",
)  # what makes a machine of the same kind, with the threads
SMALL = 2**20  # bytes; smaller files are copied


class Outcome(NamedTuple):
    """What came of one job: identical | close | different | failed; where there is one, the largest relative difference."""

    folder: str
    rule: str
    kind: str
    same_machine: bool
    distance: float
    why: str

    @property
    def good(self) -> bool:
        return self.kind == "identical" or (self.kind == "close" and not self.same_machine)


def read_config(results: Path, path: str | None) -> dict:
    """The experiment's config, from the file at `path` or as the audit target recorded it. Raises WagleError without one."""
    from wagle.experiment import config

    if path is not None:
        return config.load(path)
    recorded = results / "audit" / "config.json"
    if not recorded.is_file():
        raise WagleError(
            f"{results} does not hold its config", "results/<experiment>/audit/config.json",
            "name the experiment's file with --configfile, or make the audit target first",
        )  # fmt: skip
    found = read_json(recorded)
    config.validate(found, str(recorded))
    return found


def draw(records: dict[str, Record], number: int, seed: int) -> list[str]:
    """Manifests of `number` jobs, drawn without replacement; the audit itself is no job to repeat."""
    known = sorted(path for path, record in records.items() if record.manifest["rule"] != "audit")
    if not 1 <= number <= len(known):
        raise WagleError(f"--rerun {number}", f"1 to {len(known)} jobs")
    return random.Random(seed).sample(known, number)


def needed(root: Path, records: dict[str, Record], path: str) -> list[str]:
    """`path` and, before it, the jobs whose files it reads but that are no longer there. Raises WagleError for a lost record."""
    found: list[str] = []
    for link in records[path].manifest["inputs"]:
        source = audit.linked(records[path], link)
        if source not in records:
            raise WagleError(
                f"{records[path].folder} read {source}, whose record is gone",
                do="make it again first",
            )
        record = records[source]
        if not all((root / record.folder / name).is_file() for name in record.manifest["outputs"]):
            found += [p for p in needed(root, records, source) if p not in found]
    return [*found, path]


def _scratch(root: Path, folder: Path, config: dict) -> Path:
    """A copy of the results and links to the project's other files below `folder`; returns the results' copy."""
    copy = folder / "results" / config["experiment"]
    for name, found in audit.walk(root).items():
        if (
            ".part" in name
            or name.startswith("audit/")
            or not (root / name).is_file()
            or (root / name).is_symlink()
        ):
            continue
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if found.st_size < SMALL or name.startswith(("logs/", "benchmarks/")):
                raise OSError
            os.link(root / name, target)
        except OSError:
            shutil.copy2(root / name, target)
    for entry in Path.cwd().iterdir():
        if entry.name not in ("results", ".snakemake", "config.json"):
            (folder / entry.name).symlink_to(entry)
    data = config.get("data_dir")
    (folder / "config.json").write_text(
        json.dumps(config | {"data_dir": data and os.path.abspath(data)}), encoding="utf-8"
    )
    return copy


def _run(folder: Path, copy: Path, record: Record, rules: list[str]) -> str:
    """Run one job in the scratch folder; the last lines of what it said where it failed, else nothing."""
    threads = (record.run or {}).get("threads")
    target = copy.relative_to(folder) / record.folder / "manifest.json"
    paths = [str(handover.ROOT), str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "WAGLE_WARM": "0"}
    env.pop("WAGLE_FINGERPRINT", None)
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(handover.workflow_folder() / "Snakefile"), "--directory", str(folder),
        "--configfile", str(folder / "config.json"), "--cores", str(threads if isinstance(threads, int) and threads > 0 else 1),
        "--workflow-profile", "none", "--rerun-triggers", "mtime", "--notemp", "--show-failed-logs", "--quiet", "rules",
        "--allowed-rules", *sorted(set(rules)), "--", str(target),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).strip().splitlines()
    causes = [line for line in said if line.startswith("error:")]
    return "" if done.returncode == 0 else (causes or said or ["no message"])[-1][:300]


def _compare(record: Record, kept: Path, made: Path) -> Outcome:
    """One job's files in `kept` (the recorded ones, as far as they are there) and in `made`."""
    again = read_manifest(made / "manifest.json")
    run = read_run(made / "run.json")
    same = (
        record.run is not None
        and all(record.run.get(key) == run.get(key) for key in SAME)
        and _threads(record.run, run)
    )
    about = (record.folder, record.manifest["rule"])
    if sha256_file(made / "manifest.json") == record.digest:
        return Outcome(*about, "identical", same, 0.0, "")
    for key in ("params", "wildcards", "raw"):
        if again[key] != record.manifest[key]:
            return Outcome(
                *about,
                "different",
                same,
                float("inf"),
                f"{key} are not those recorded: another config, code or data",
            )
    if again["outputs"].keys() != record.manifest["outputs"].keys():
        return Outcome(*about, "different", same, float("inf"), "other output files")
    worst, where = 0.0, "inputs that were made again"
    for name, entry in record.manifest["outputs"].items():
        if again["outputs"][name]["sha256"] == entry["sha256"]:
            continue
        if not (kept / name).is_file():
            return Outcome(
                *about,
                "different",
                same,
                float("inf"),
                f"{name} has other bytes, and the recorded ones were removed after use",
            )
        found = distance(kept / name, made / name)
        if found is not None and found >= worst:
            worst, where = found, name
    return Outcome(*about, "close" if worst <= TOLERANCE else "different", same, worst, where)


def _threads(first: dict, second: dict) -> bool:
    """As many threads; a job that computes nothing has none."""
    return (
        None in (first.get("threads"), second.get("threads"))
        or first["threads"] == second["threads"]
    )


def rerun(
    results: str | Path, number: int, *, seed: int, configfile: str | None, scratch: Path
) -> list[Outcome]:
    """Outcomes of `number` jobs drawn with `seed`, and of those that had to be made again for them, in order.

    `scratch` is an empty folder, best on the file system of `results`. Raises WagleError when a job cannot be set up.
    """
    root = Path(results).resolve()
    records, broken = audit.load(root, audit.walk(root))
    if broken:
        raise WagleError(
            f"{broken[0].path}: {broken[0].why}", do=f"run wagle audit {results} first"
        )
    copy = _scratch(root, scratch, read_config(root, configfile))
    outcomes: list[Outcome] = []
    for chosen in draw(records, number, seed):
        jobs = needed(root, records, chosen)
        for path in jobs:
            shutil.rmtree(copy / records[path].folder)
        failed = _run(
            scratch, copy, records[chosen], [records[path].manifest["rule"] for path in jobs]
        )
        for path in jobs:
            record = records[path]
            made = copy / record.folder
            if (made / "manifest.json").is_file():
                outcomes.append(_compare(record, root / record.folder, made))
            else:
                outcomes.append(
                    Outcome(
                        record.folder,
                        record.manifest["rule"],
                        "failed",
                        False,
                        float("inf"),
                        failed,
                    )
                )
        for path in jobs:  # the next job reads what was recorded, not what was just made
            folder = records[path].folder
            shutil.rmtree(copy / folder, ignore_errors=True)
            shutil.copytree(root / folder, copy / folder)
    return list(dict.fromkeys(outcomes))


def text(outcomes: list[Outcome]) -> str:
    lines = []
    for o in outcomes:
        where = "same kind of machine" if o.same_machine else "another kind of machine"
        far = (
            f", largest relative difference {o.distance:.2g} in {o.why}"
            if o.kind == "close"
            else f": {o.why}"
            if o.why
            else ""
        )
        lines.append(f"{o.kind:10s} {o.rule}: {o.folder} ({where}{far})")
    bad = sum(not o.good for o in outcomes)
    lines.append(
        f"{len(outcomes)} jobs run again: {len(outcomes) - bad} as they must be, {bad} not"
    )
    return "\n".join(lines) + "\n"
