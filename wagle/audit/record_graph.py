"""The records of one results folder, and how they depend on each other.

Every job of the pipeline leaves a record beside its outputs (wagle/runtime/records.py). This
module lists the files of a folder, reads its records, and follows their inputs in both directions:
to the records that one was made from, and to those that were made from it.

Notable: records are named by the path of their manifest below the results folder. Symbolic links
are not followed, and no file outside the folder is opened.
Left out: whether the files are what their records say (wagle/audit/check.py).
"""

import hashlib
import os
import stat
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from wagle.errors import WagleError
from wagle.runtime.files import sha256_file
from wagle.runtime.records import read_manifest, read_run


class Record(NamedTuple):
    """One job's record.

    `folder` is its place below the results folder, and `digest` the sha256 of its manifest. `run`
    is None where run.json is missing or broken.
    """

    folder: str
    manifest: dict
    digest: str
    run: dict | None


class Finding(NamedTuple):
    """What the audit says of one file: its class, its path below the results folder, and why."""

    kind: str
    path: str
    why: str


class Reading(NamedTuple):
    """One record that was read by another: the reader's path, and the sha256 that it read."""

    reader: str
    digest: str


@dataclass(frozen=True)
class LoadedRecords:
    """The records of a folder by path, and a finding for each file of a record that is no good."""

    records: dict[str, Record]
    findings: list[Finding]


def list_files(root: Path) -> dict[str, os.stat_result]:
    """Every file below `root` by its relative path; symbolic links are listed, not followed.

    Raises WagleError when there is no such folder or a part of it cannot be read.
    """
    if not root.is_dir():
        raise WagleError(f"{root} is not a folder", "a results folder, such as results/quick")

    def stop(error: OSError):
        raise WagleError(f"{error.filename} cannot be read: {error.strerror}")

    files = {}
    for folder, subfolders, names in os.walk(root, onerror=stop):
        links = [name for name in subfolders if os.path.islink(os.path.join(folder, name))]
        for name in [*names, *links]:
            path = os.path.join(folder, name)
            files[os.path.relpath(path, root)] = os.lstat(path)
    return files


def load_records(root: Path, files: dict[str, os.stat_result] | None = None) -> LoadedRecords:
    """Read every record below `root`. `files` is what `list_files` gave, or a part of it.

    A record that cannot be read becomes a finding, not an error. Raises WagleError when `root` is
    no folder.
    """
    files = list_files(root) if files is None else files
    records, findings = {}, []
    for path in sorted(path for path in files if _is_manifest(path)):
        try:
            if not stat.S_ISREG(files[path].st_mode):
                raise WagleError(f"{path} is a link")
            manifest, digest = read_manifest(root / path), sha256_file(root / path)
        except WagleError as error:
            findings.append(Finding("altered", path, _without_advice(error, root)))
            continue
        run_path, run = path.removesuffix("manifest.json") + "run.json", None
        try:
            if run_path not in files:
                findings.append(Finding("missing", run_path, "every record has a run beside it"))
            elif not stat.S_ISREG(files[run_path].st_mode):
                findings.append(Finding("altered", run_path, "a link where a file was written"))
            else:
                run = read_run(root / run_path)
        except WagleError as error:
            findings.append(Finding("altered", run_path, _without_advice(error, root)))
        records[path] = Record(os.path.dirname(path), manifest, digest, run)
    return LoadedRecords(records, findings)


def _is_manifest(path: str) -> bool:
    return os.path.basename(path) == "manifest.json" and ".part/" not in path


def _without_advice(error: WagleError, root: Path) -> str:
    """The error's message with paths below `root`, and without what to do."""
    return str(error).replace(f"{root}/", "").partition(" To do:")[0]


def resolve_input(record: Record, link: str) -> str | None:
    """Path of the record that `link`, a key of the manifest's inputs, names; None outside."""
    path = os.path.normpath(os.path.join(record.folder, link))
    return None if path.startswith("..") else path


def readings(records: dict[str, Record]) -> dict[str, set[Reading]]:
    """Who read each record, by the record's path."""
    result: dict[str, set[Reading]] = {}
    for path, record in records.items():
        for link, digest in record.manifest["inputs"].items():
            source = resolve_input(record, link)
            if source is not None:
                result.setdefault(source, set()).add(Reading(path, digest))
    return result


def ancestors(records: dict[str, Record], path: str) -> list[str]:
    """`path` and the records that it was made from, directly or not: each once, nearest first."""
    order, seen, queue = [], {path}, deque([path])
    while queue:
        current = queue.popleft()
        order.append(current)
        for link in records[current].manifest["inputs"]:
            source = resolve_input(records[current], link)
            if source in records and source not in seen:
                seen.add(source)
                queue.append(source)
    return order


def descendants(records: dict[str, Record], paths: set[str]) -> set[str]:
    """The records that were made, directly or not, from those at `paths`, without these."""
    readers = readings(records)
    result, pending = set(), list(paths)
    while pending:
        new = {reading.reader for reading in readers.get(pending.pop(), ())} - result
        result |= new
        pending += new
    return result - paths


def records_digest(records: dict[str, Record]) -> str:
    """One sha256 over all records.

    Two folders with the same one hold the same artifacts, made in the same way.
    """
    lines = "\n".join(f"{path} {record.digest}" for path, record in sorted(records.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def machines(records: dict[str, Record]) -> list[str]:
    """The machines and environments that the jobs ran on, each once, in words."""
    jobs = Counter(_machine(record.run) for record in records.values() if record.run)
    return [f"{count} jobs on {machine}" for machine, count in sorted(jobs.items())]


def _machine(run: dict) -> str:
    accelerator = run.get("accelerator") or "no accelerator"
    packages = run.get("packages") if isinstance(run.get("packages"), dict) else {}
    versions = [
        f"{name} {packages[name]}" for name in ("torch", "transformers") if name in packages
    ]
    hardware = f"{run.get('host')}, {run.get('processor')}, {accelerator}"
    return f"{hardware}; Python {run.get('python')}, {', '.join(versions)}"
