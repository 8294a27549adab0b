"""Damage a finished experiment in one place at a time.

The audit must name the file, and no later job may read it.

    python tests/flip_campaign.py --flips 300 --truncations 50 --swaps 20 --seed 0 [--results DIR]

Each fault is sampled: first a kind of files (folder and ending; records and run records are kinds
of their own), then a file of that kind, then the place. A swap exchanges two different files of one
kind. After each fault the whole folder is audited. For every job that read the file's record, the
check that a job makes of its inputs (wagle.runtime.records.check_inputs) must refuse it too.

Prints one JSON line; ends with 1 at the first miss.
Left out: logs and benchmarks, which no record covers.
"""

import argparse
import json
import os
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from wagle.audit.check import audit_folder
from wagle.audit.record_graph import resolve_input
from wagle.errors import WagleError
from wagle.runtime.records import check_inputs


def owners(records) -> dict[str, str]:
    """Every file that a record covers, itself and its run record included -> the record's path."""
    return {
        f"{r.folder}/{name}": path
        for path, r in records.items()
        for name in ("manifest.json", "run.json", *r.manifest["outputs"])
    }


def kind_of(file: str) -> str:
    name = Path(file).name
    return (
        name
        if name in ("manifest.json", "run.json")
        else f"{file.split('/')[0]}/*{Path(file).suffix}"
    )


def flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size))


def with_owner(root: Path, records, owner: str) -> list[str]:
    """The input of a job that reads the record `owner`: its files that are there, and the record.

    It is empty where no job reads that record.
    """
    record = records[owner]
    if not any(
        resolve_input(other, link) == owner
        for other in records.values()
        for link in other.manifest["inputs"]
    ):
        return []
    files = [root / record.folder / name for name in record.manifest["outputs"]]
    return [str(path) for path in [*files, root / owner] if path.exists()]


def check(root: Path, records, files: list[str]) -> None:
    """Raise SystemExit unless the audit names each of `files` as altered and jobs refuse it."""
    altered = {
        finding.path
        for finding in audit_folder(root, code=False).findings
        if finding.kind == "altered"
    }
    missed = [file for file in files if file not in altered]
    if missed:
        raise SystemExit(f"the audit missed {missed}; it named {sorted(altered)[:5]}")
    for read in filter(None, (with_owner(root, records, owners(records)[file]) for file in files)):
        try:
            check_inputs(read)
        except WagleError:
            continue
        raise SystemExit(f"a job would read {files}")


def campaign(results: Path, *, flips: int, truncations: int, swaps: int, seed: int) -> dict:
    rng, faults = random.Random(seed), Counter()
    records = audit_folder(results, code=False).records
    by_kind: dict[str, list[str]] = {}
    for file in sorted(owners(records)):
        if (results / file).is_file() and (results / file).stat().st_size:
            by_kind.setdefault(kind_of(file), []).append(file)
    pairs = {
        kind: [
            (a, b)
            for a in files
            for b in files
            if a < b and (results / a).read_bytes() != (results / b).read_bytes()
        ]
        for kind, files in by_kind.items()
    }
    pairs = {kind: different for kind, different in pairs.items() if different}
    for damage in [flip] * flips + [truncate] * truncations + [None] * swaps:
        kind = rng.choice(sorted(by_kind if damage else pairs))
        files = [rng.choice(by_kind[kind])] if damage else list(rng.choice(pairs[kind]))
        saved = [(results / file).read_bytes() for file in files]
        if damage:
            damage(results / files[0], rng)
        else:
            for file, content in zip(files, reversed(saved), strict=True):
                (results / file).write_bytes(content)
        check(results, records, files)
        for file, content in zip(files, saved, strict=True):
            (results / file).write_bytes(content)
        faults[kind] += 1
    if audit_folder(results, code=False).verdict != "clean":
        raise SystemExit(
            "the folder is not clean after the campaign: a fault of the campaign itself"
        )
    return {
        "faults": sum(faults.values()),
        "kinds": len(by_kind),
        "by kind": dict(sorted(faults.items())),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name, number in (("--flips", 300), ("--truncations", 50), ("--swaps", 20), ("--seed", 0)):
        parser.add_argument(name, type=int, default=number)
    parser.add_argument(
        "--results",
        type=Path,
        help="a finished experiment (a copy is damaged); without it, one is made",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.results is None:
            import small

            experiment = small.project(Path(scratch) / "made")
            if small.start(experiment).wait():
                raise SystemExit((experiment.folder / "run.log").read_text()[-3000:])
            options.results = experiment.results
        copy = shutil.copytree(options.results, Path(scratch) / "copy")
        numbers = {
            name: getattr(options, name) for name in ("flips", "truncations", "swaps", "seed")
        }
        print(json.dumps(campaign(copy, **numbers)))
