"""Is a results folder what its records say, and do the records fit each other and the code?

Walks the records of one folder, hashes every file anew, and puts each into one class:

    intact       its bytes are those that its job recorded
    temporary    removed after use (a checkpoint after its evaluation, gradients after the masks)
                 or left out of an archive; its hash stays recorded
    stale        whole, but made from an earlier version of an input, or by other code than this
                 checkout's
    missing      recorded, and not there
    altered      other bytes than recorded; a record that was changed, or lies in another job's
                 folder
    unaccounted  in the folder, and no record knows it
    log          logs and benchmarks, which no record covers
    unfinished   left by a job that was stopped, under a name that no job reads

Notable: this module knows neither Snakemake nor a config. Snakemake says what a changed config
would run again.
Left out: whether somebody rewrote the whole folder, records included. Hashes are no signatures
(docs/audit.md).
"""

import os
import re
import stat
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from wagle.audit.record_graph import (
    Finding,
    Record,
    list_files,
    load_records,
    readings,
    resolve_input,
)
from wagle.errors import WagleError
from wagle.runtime import identity
from wagle.runtime.files import read_json, sha256_file

ARCHIVE = "archive.json"  # of a packed folder: what was left out of it (wagle/audit/ro_crate.py)
CLASSES = (
    "intact",
    "temporary",
    "stale",
    "missing",
    "altered",
    "unaccounted",
    "log",
    "unfinished",
)
PROBLEMS = ("missing", "altered", "unaccounted")
REMOVED_AFTER_USE = {"unlearn": "checkpoint/"}  # rule -> outputs that its one reader uses up
# may be removed once the masks are made
INTERMEDIATE = ("gradients", "row_gradients", "curvature", "activations", "scores")


@dataclass(frozen=True)
class Audit:
    """What the audit of one folder found.

    `records` are by path of the manifest below the folder, `findings` name the files that are not
    simply intact, and `counts` are files by class. `intact_bytes` is the size of the intact ones.
    """

    name: str
    records: dict[str, Record]
    findings: list[Finding]
    counts: dict[str, int]
    intact_bytes: int

    @property
    def verdict(self) -> str:
        """`problems` for missing, altered or unaccounted files, else `stale` or `clean`."""
        kinds = {finding.kind for finding in self.findings}
        if kinds & set(PROBLEMS):
            return "problems"
        return "stale" if "stale" in kinds else "clean"


class _Output(NamedTuple):
    """One recorded file: its path below the folder, what was recorded of it, and by which job."""

    path: str
    sha256: str
    bytes: int
    record: Record


@dataclass(frozen=True)
class _Folder:
    """The audited folder: its files, and those that an archive was packed without (-> sha256)."""

    root: Path
    files: dict[str, os.stat_result]
    left_out: dict[str, str]


def audit_folder(
    results: str | Path,
    *,
    code: bool = True,
    skip: tuple[str, ...] = (),
    only: set[str] | None = None,
) -> Audit:
    """Everything that the folder `results` itself and, with `code`, this checkout can tell.

    `skip` names top-level folders to leave out. With `only`, a set of manifests, nothing but their
    files is hashed, and nothing but their findings is returned. Raises WagleError when `results` is
    no folder or holds no record.
    """
    root = Path(results)
    files = {p: status for p, status in list_files(root).items() if p.split("/")[0] not in skip}
    loaded = load_records(root, files)
    records, findings = loaded.records, loaded.findings
    if not records and not findings:
        raise WagleError(f"{root} holds no record", "a results folder, such as results/quick")
    findings = findings + _check_records(records)
    altered_records = {finding.path for finding in findings if finding.kind == "altered"}

    outputs = _outputs(records, only)
    folder = _Folder(root, files, _left_out(root, files))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing lets other threads run
        checked = list(pool.map(lambda output: _check_output(folder, output), outputs.values()))
    findings += [finding for finding in checked if finding.kind != "intact"]
    intact = [outputs[finding.path] for finding in checked if finding.kind == "intact"]

    runs = {f"{record.folder}/run.json" for record in records.values()}
    record_files = (set(records) | runs | altered_records) - set(outputs)
    unrecorded = _check_unrecorded(sorted(set(files) - set(outputs) - record_files))
    findings += [finding for finding in unrecorded if finding.kind != "log"]
    broken = {
        finding.path
        for finding in findings
        if finding.kind == "altered" and finding.path.endswith("manifest.json")
    }
    findings += _check_inputs(records, broken)
    findings += _check_code(records) if code else []
    if only is not None:
        findings = _of_records(findings, {records[path].folder for path in only})
    findings = sorted(dict.fromkeys(findings), key=lambda f: (CLASSES.index(f.kind), f.path, f.why))

    counts = Counter(finding.kind for finding in [*checked, *unrecorded])
    counts["intact"] += sum(p in files and p not in altered_records for p in record_files)
    counts["altered"] += len(altered_records - set(outputs))
    for kind in ("stale", "missing"):  # these have several findings on one path
        counts[kind] = len({finding.path for finding in findings if finding.kind == kind})
    return Audit(
        name=root.resolve().name,
        records=records,
        findings=findings,
        counts={kind: counts[kind] for kind in CLASSES},
        intact_bytes=sum(output.bytes for output in intact),
    )


def _outputs(records: dict[str, Record], only: set[str] | None) -> dict[str, _Output]:
    """The recorded files by path: of all records, or of those in `only`."""
    return {
        f"{record.folder}/{name}": _Output(
            f"{record.folder}/{name}", entry["sha256"], entry["bytes"], record
        )
        for path, record in records.items()
        if only is None or path in only
        for name, entry in record.manifest["outputs"].items()
    }


def _left_out(root: Path, files) -> dict[str, str]:
    """The files that an archive was packed without; empty for a folder that is no archive."""
    archive = read_json(root / ARCHIVE) if ARCHIVE in files else {}
    left_out = archive.get("left_out", {}) if isinstance(archive, dict) else {}
    return left_out if isinstance(left_out, dict) else {}


def _check_records(records: dict[str, Record]) -> list[Finding]:
    """A manifest that is not its run's, and one that lies in another job's folder."""
    read_by = readings(records)
    findings = []
    for path, record in records.items():
        if record.run is not None and record.run["manifest_sha256"] != record.digest:
            was_read = record.digest in {reading.digest for reading in read_by.get(path, ())}
            wrong = os.path.join(record.folder, "run.json") if was_read else path
            why = "manifest.json and run.json do not belong together"
            findings.append(Finding("altered", wrong, why))
        wildcards = record.manifest["wildcards"].values()
        elsewhere = [value for value in wildcards if value not in record.folder]
        if elsewhere:
            why = f"the record of {', '.join(elsewhere)}, in another job's folder"
            findings.append(Finding("altered", path, why))
    return findings


def _check_output(folder: _Folder, output: _Output) -> Finding:
    """The class of one recorded file."""
    status = folder.files.get(output.path)
    if status is None:
        return _check_absent(folder, output)
    if not stat.S_ISREG(status.st_mode):
        return Finding("altered", output.path, "a link where a file was written")
    if status.st_size != output.bytes:
        why = f"{status.st_size} bytes, {output.bytes} recorded"
        return Finding("altered", output.path, why)
    try:
        digest = sha256_file(folder.root / output.path)
    except OSError as error:
        return Finding("altered", output.path, f"cannot be read: {error.strerror}")
    if digest != output.sha256:
        why = f"sha256 {digest[:12]}, {output.sha256[:12]} recorded"
        return Finding("altered", output.path, why)
    return Finding("intact", output.path, "")


def _check_absent(folder: _Folder, output: _Output) -> Finding:
    if folder.left_out.get(output.path) == output.sha256:
        return Finding("temporary", output.path, "left out of this archive")
    if _was_used_up(folder, output):
        return Finding("temporary", output.path, "removed after its evaluation")
    return Finding("missing", output.path, f"recorded by {output.record.folder}")


def _was_used_up(folder: _Folder, output: _Output) -> bool:
    """Was the file removed after its one reader, together with all that lay beside it?"""
    removed = REMOVED_AFTER_USE.get(output.record.manifest["rule"])
    if removed is None:
        return False
    prefix = f"{output.record.folder}/{removed}"
    siblings = [f"{output.record.folder}/{name}" for name in output.record.manifest["outputs"]]
    kept = [path for path in siblings if path.startswith(prefix) and path in folder.files]
    return output.path.startswith(prefix) and not kept


def _check_unrecorded(paths: list[str]) -> list[Finding]:
    """The classes of files that no record lists; Snakemake's own time stamps are passed over."""
    findings = []
    for path in paths:
        parts = path.split("/")
        if parts[-1] == ".snakemake_timestamp" or path == ARCHIVE:
            continue
        if parts[0] in ("logs", "benchmarks"):
            findings.append(Finding("log", path, ""))
        elif any(part.endswith(".part") for part in parts):
            findings.append(Finding("unfinished", path, "left by a stopped job"))
        else:
            findings.append(Finding("unaccounted", path, "no record lists it"))
    return findings


def _check_inputs(records: dict[str, Record], broken: set[str]) -> list[Finding]:
    """Every input record must be there and be the one that was read; `broken` ones are known."""
    findings = []
    for path, record in records.items():
        for link, digest in record.manifest["inputs"].items():
            source = resolve_input(record, link)
            if source is None:
                why = f"names the input {link}, outside this folder"
                findings.append(Finding("altered", path, why))
            elif source in broken:
                continue
            elif source not in records:
                kind = "temporary" if source.split("/")[0] in INTERMEDIATE else "missing"
                findings.append(Finding(kind, source, f"read by {record.folder}"))
            elif records[source].digest != digest:
                findings.append(Finding("stale", path, f"made from an earlier {source}"))
    return findings


def _check_code(records: dict[str, Record]) -> list[Finding]:
    """Records that were made by other code than this checkout's."""
    findings, current = [], {}
    for path, record in records.items():
        recorded = record.manifest["params"].get("code")
        if not isinstance(recorded, str):
            findings.append(Finding("altered", path, "has no code identity"))
            continue
        roots = recorded.partition(":")[2]
        if roots not in current:
            current[roots] = _current_identity(roots)
        if current[roots] != recorded:
            change = "is not there" if current[roots] is None else "has changed since"
            why = f"the code that made it {change}: {roots[:200]}"
            findings.append(Finding("stale", path, why))
    return findings


def _current_identity(roots: str) -> str | None:
    """The code identity of `roots`, names with commas between, in this checkout; None if absent."""
    names = roots.split(",")
    if not all(re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", name) for name in names):
        return None
    try:
        return identity.code_identity(*names)
    except WagleError:
        return None


def _of_records(findings: list[Finding], folders: set[str]) -> list[Finding]:
    """The findings about files below `folders`, without unaccounted ones."""
    return [
        finding
        for finding in findings
        if finding.kind != "unaccounted"
        and any(finding.path.startswith(folder + "/") for folder in folders)
    ]
