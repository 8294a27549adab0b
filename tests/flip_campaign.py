"""Damage a finished experiment in one place at a time: the audit must name the file, and no later job may take it.

    python tests/flip_campaign.py --flips 300 --truncations 50 --swaps 20 --seed 0 [--results DIR]

Kinds of files (folder and ending; records and run records are kinds of their own) are drawn first, then a file of that kind,
then the place. A swap exchanges two different files of one kind. After each fault the whole folder is audited, and for
every job that read the file's record the check that a job makes of its inputs (wagle.provenance.check_inputs) must refuse.
Logs and benchmarks are left alone: no record covers them. Prints one JSON line; ends with 1 at the first miss.
"""

import argparse
import json
import os
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from wagle import audit, provenance
from wagle.errors import WagleError


def kinds(records) -> dict[str, list[str]]:
    """Files by kind, as paths below the results folder."""
    found: dict[str, list[str]] = {}
    for path, record in records.items():
        stage = path.split("/")[0]
        for name in ["manifest.json", "run.json", *record.manifest["outputs"]]:
            kind = name if name in ("manifest.json", "run.json") else f"{stage}/*{Path(name).suffix}"
            found.setdefault(kind, []).append(f"{record.folder}/{name}")
    return found


def flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, draw: random.Random) -> None:
    os.truncate(path, draw.randrange(path.stat().st_size))


def readers(root: Path, records, file: str) -> list[list[str]]:
    """For each job that read the record of `file`: the paths of that record's files, as the job is given them."""
    owner = next(
        p
        for p, r in records.items()
        if file in (p, f"{r.folder}/run.json")
        or (file.removeprefix(r.folder + "/") in r.manifest["outputs"] and file.startswith(r.folder + "/"))
    )
    record = records[owner]
    files = [str(root / record.folder / name) for name in record.manifest["outputs"] if (root / record.folder / name).exists()]
    known = [r for r in records.values() if any(audit.linked(r, link) == owner for link in r.manifest["inputs"])]
    return [[*files, str(root / owner)] for _ in known[:1]]


def check(root: Path, records, files: list[str]) -> None:
    """Raise SystemExit unless the audit names each of `files` as altered and no job takes it."""
    named = {finding.path for finding in audit.audit(root, code=False).findings if finding.kind == "altered"}
    missed = [file for file in files if file not in named]
    if missed:
        raise SystemExit(f"the audit missed {missed}; it named {sorted(named)[:5]}")
    for file in files:
        for given in readers(root, records, file):
            try:
                provenance.check_inputs(given)
            except WagleError:
                continue
            raise SystemExit(f"a job would take {file}")


def campaign(results: Path, *, flips: int, truncations: int, swaps: int, seed: int) -> dict:
    draw, faults = random.Random(seed), Counter()
    records = audit.audit(results, code=False).records
    by_kind = {
        kind: [f for f in files if (results / f).is_file() and (results / f).stat().st_size]
        for kind, files in kinds(records).items()
    }
    by_kind = {kind: files for kind, files in by_kind.items() if files}
    pairs = {
        kind: [(a, b) for a in files for b in files if a < b and (results / a).read_bytes() != (results / b).read_bytes()]
        for kind, files in by_kind.items()
    }
    pairs = {kind: found for kind, found in pairs.items() if found}
    for damage in [flip] * flips + [truncate] * truncations + [None] * swaps:
        kind = draw.choice(sorted(by_kind if damage else pairs))
        files = [draw.choice(by_kind[kind])] if damage else list(draw.choice(pairs[kind]))
        saved = [(results / file).read_bytes() for file in files]
        if damage:
            damage(results / files[0], draw)
        else:
            for file, content in zip(files, reversed(saved), strict=True):
                (results / file).write_bytes(content)
        check(results, records, files)
        for file, content in zip(files, saved, strict=True):
            (results / file).write_bytes(content)
        faults[kind] += 1
    if audit.audit(results, code=False).verdict != "clean":
        raise SystemExit("the folder is not clean after the campaign: a fault of the campaign itself")
    return {"faults": sum(faults.values()), "kinds": len(by_kind), "by kind": dict(sorted(faults.items()))}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name, number in (("--flips", 300), ("--truncations", 50), ("--swaps", 20), ("--seed", 0)):
        parser.add_argument(name, type=int, default=number)
    parser.add_argument("--results", type=Path, help="a finished experiment (a copy is damaged); without it, one is made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.results is None:
            import small

            made = small.project(Path(scratch) / "made")
            if small.start(made).wait():
                raise SystemExit((made.folder / "run.log").read_text()[-3000:])
            options.results = made.results
        copy = shutil.copytree(options.results, Path(scratch) / "copy")
        numbers = {name: getattr(options, name) for name in ("flips", "truncations", "swaps", "seed")}
        print(json.dumps(campaign(copy, **numbers)))
