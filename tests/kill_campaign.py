"""Kill a running experiment at random moments, restart it, and compare with the undisturbed run.

    python tests/kill_campaign.py --kills 50 --seed 0 [--folder DIR]

Each kill is a SIGKILL to Snakemake's whole process group after a random time. The restart is that
of README.md: `snakemake --unlock`, then the same command. An experiment is killed until it comes
through. Then the next one starts from nothing, until there were enough kills. Every artifact and
manifest must be byte for byte that of the undisturbed run, and the audit clean.

Notable: the table of running times, and the report that shows it, may differ. Prints one JSON line;
ends with 1 at the first difference.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import small

from wagle.audit.check import audit_folder
from wagle.audit.record_changes import measuring_records


def fresh(experiment) -> None:
    shutil.rmtree(experiment.folder / "results", ignore_errors=True)
    shutil.rmtree(experiment.folder / ".snakemake", ignore_errors=True)


def undisturbed(experiment) -> tuple[dict[str, bytes], float]:
    """Artifacts of a run from nothing, and its seconds."""
    fresh(experiment)
    began = time.monotonic()
    if small.start(experiment).wait():
        raise SystemExit((experiment.folder / "run.log").read_text()[-3000:])
    return small.artifacts(experiment.results), time.monotonic() - began


def disturbed(experiment, kills: int, rng: random.Random, longest: float) -> tuple[int, int]:
    """One experiment from nothing, killed until it comes through or `kills` are used up.

    Returns the number of kills, and of those among them that came after jobs had begun.
    """
    fresh(experiment)
    done = begun = 0
    while True:
        process = small.start(experiment)
        try:
            code = process.wait(timeout=rng.uniform(1, longest) if done < kills else None)
        except subprocess.TimeoutExpired:
            small.kill(process)
            done += 1
            begun += experiment.results.exists()
            if small.start(experiment, "--unlock").wait():
                raise SystemExit(f"kill {done}: --unlock failed") from None
            continue
        if code:
            raise SystemExit(
                f"after kill {done}: {(experiment.folder / 'run.log').read_text()[-3000:]}"
            )
        return done, begun


def differences(expected: dict[str, bytes], actual: dict[str, bytes], records) -> list[str]:
    """Files that differ, without those that measure the run itself and those made from them."""
    measured = measuring_records(records)
    compared = {
        path
        for path in expected.keys() | actual.keys()
        if f"{os.path.dirname(path)}/manifest.json" not in measured
    }
    return sorted(path for path in compared if expected.get(path) != actual.get(path))


def campaign(folder: Path, kills: int, seed: int) -> dict:
    experiment, rng = small.project(folder), random.Random(seed)
    expected, seconds = undisturbed(experiment)
    total = begun = experiments = 0
    while total < kills:
        done, with_jobs = disturbed(experiment, kills - total, rng, seconds / 3)
        total, begun, experiments = total + done, begun + with_jobs, experiments + 1
        audit = audit_folder(experiment.results, code=False)
        different = differences(expected, small.artifacts(experiment.results), audit.records)
        if different or audit.verdict != "clean":
            raise SystemExit(
                f"after {total} kills: audit {audit.verdict}, different: {different[:10]}"
            )
        print(
            f"{total} kills, {experiments} experiments: {len(expected)} files identical",
            file=sys.stderr,
            flush=True,
        )
    return {
        "kills": total,
        "with jobs begun": begun,
        "experiments": experiments,
        "files": len(expected),
        "undisturbed_s": round(seconds, 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(campaign(options.folder or Path(scratch), options.kills, options.seed)))
