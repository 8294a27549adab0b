"""Is a results folder what its records say, and do the records fit each other and the code?

Walks the records (wagle/runtime/records.py) of one folder, hashes every file anew, and puts each into one class:

    intact       its bytes are those that its job recorded
    temporary    removed after use (a checkpoint after its evaluation, gradients after the masks) or left out of an archive;
                 its hash stays recorded
    stale        whole, but made from an earlier version of an input, or by other code than this checkout's
    missing      recorded, and not there
    altered      other bytes than recorded; a record that was changed, or lies in another job's folder
    unaccounted  in the folder, and no record knows it
    log          logs and benchmarks, which no record covers
    unfinished   left by a job that was stopped, under a name that no job reads

Notable: the library knows neither Snakemake nor a config here; what a changed config would run again is the workflow
engine's to say (the command line asks it). Links inside the folder are not followed, and nothing outside it is opened.
Left out: whether a folder was rewritten whole, records included. Hashes are not signatures (docs/audit.md).
"""

import hashlib
import os
import re
import stat
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from wagle.errors import WagleError
from wagle.runtime import identity
from wagle.runtime.files import read_json, sha256_file
from wagle.runtime.records import read_manifest, read_run

ARCHIVE = "archive.json"  # of a packed folder: what the packing left out, and its hashes (wagle/audit/ro_crate.py)
CLASSES = ("intact", "temporary", "stale", "missing", "altered", "unaccounted", "log", "unfinished")
PROBLEMS = ("missing", "altered", "unaccounted")
USED_UP = {"unlearn": "checkpoint/"}  # outputs that are removed after their one reader, by rule
INTERMEDIATE = (
    "gradients",
    "activations",
    "scores",
)  # folders that may be removed once the masks are made


class Record(NamedTuple):
    """One job's record: its folder below the results folder, the manifest and its hash, and the run (None where broken)."""

    folder: str
    manifest: dict
    digest: str
    run: dict | None


class Finding(NamedTuple):
    """A file that is not simply intact: class, path below the results folder, and why."""

    kind: str
    path: str
    why: str


class Audit(NamedTuple):
    name: str
    records: dict[str, Record]  # by the manifest's path below the results folder
    findings: list[Finding]
    counts: dict[str, int]  # files by class
    bytes: int

    @property
    def verdict(self) -> str:
        kinds = {finding.kind for finding in self.findings}
        return "problems" if kinds & set(PROBLEMS) else "stale" if "stale" in kinds else "clean"


def walk(root: Path) -> dict[str, os.stat_result]:
    """Every file below `root` by its relative path, links unfollowed. Raises WagleError when there is no such folder."""
    if not root.is_dir():
        raise WagleError(f"{root} is not a folder", "a results folder, such as results/quick")

    def stop(error):
        raise WagleError(f"{error.filename} cannot be read: {error.strerror}")

    found = {}
    for folder, folders, files in os.walk(root, onerror=stop):
        for name in [*files, *(f for f in folders if os.path.islink(os.path.join(folder, f)))]:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, root)] = os.lstat(path)
    return found


def load(root: Path, files) -> tuple[dict[str, Record], list[Finding]]:
    """Records among `files`, and a finding for each that cannot be read or does not belong to its run."""
    records, findings = {}, []
    for path in sorted(
        p for p in files if os.path.basename(p) == "manifest.json" and ".part/" not in p
    ):
        run = None
        try:
            if not stat.S_ISREG(files[path].st_mode):
                raise WagleError(f"{path} is a link")
            manifest, digest = read_manifest(root / path), sha256_file(root / path)
        except WagleError as error:
            findings.append(Finding("altered", path, _short(error, root)))
            continue
        beside = path.removesuffix("manifest.json") + "run.json"
        try:
            if beside not in files:
                findings.append(Finding("missing", beside, "every record has a run beside it"))
            elif not stat.S_ISREG(files[beside].st_mode):
                findings.append(Finding("altered", beside, "a link where a file was written"))
            else:
                run = read_run(root / beside)
        except WagleError as error:
            findings.append(Finding("altered", beside, _short(error, root)))
        records[path] = Record(os.path.dirname(path), manifest, digest, run)
    return records, findings


def _short(error: WagleError, root: Path) -> str:
    return str(error).replace(f"{root}/", "").partition(" To do:")[0]


def linked(record: Record, link: str) -> str | None:
    """Path below the results folder of the record that `link` names; None when it leads outside."""
    path = os.path.normpath(os.path.join(record.folder, link))
    return None if path.startswith("..") else path


def _check_records(records: dict[str, Record]) -> list[Finding]:
    """A manifest that is not its run's, and one that lies in another job's folder."""
    readers: dict[str, set[str]] = {}
    for record in records.values():
        for link, digest in record.manifest["inputs"].items():
            readers.setdefault(linked(record, link) or "", set()).add(digest)
    findings = []
    for path, record in records.items():
        if record.run is not None and record.run["manifest_sha256"] != record.digest:
            known = record.digest in readers.get(path, ())
            wrong = os.path.join(record.folder, "run.json") if known else path
            findings.append(
                Finding("altered", wrong, "manifest.json and run.json do not belong together")
            )
        strange = [v for v in record.manifest["wildcards"].values() if v not in record.folder]
        if strange:
            findings.append(
                Finding(
                    "altered", path, f"the record of {', '.join(strange)}, in another job's folder"
                )
            )
    return findings


def _check_links(records: dict[str, Record], broken: set[str]) -> list[Finding]:
    """Every input record is there and is the one that was read."""
    findings = []
    for path, record in records.items():
        for link, digest in record.manifest["inputs"].items():
            source = linked(record, link)
            if source is None:
                findings.append(
                    Finding("altered", path, f"names the input {link}, outside this folder")
                )
            elif source not in records and source not in broken:
                kind = "temporary" if source.split("/")[0] in INTERMEDIATE else "missing"
                findings.append(Finding(kind, source, f"read by {record.folder}"))
            elif source not in broken and records[source].digest != digest:
                findings.append(Finding("stale", path, f"made from an earlier {source}"))
    return findings


def _check_code(records: dict[str, Record]) -> list[Finding]:
    """Records made by other code than is found here."""
    findings, now = [], {}
    for path, record in records.items():
        made_by = record.manifest["params"].get("code")
        if not isinstance(made_by, str):
            findings.append(Finding("altered", path, "has no code identity"))
            continue
        roots = made_by.partition(":")[2]
        if roots not in now:
            now[roots] = _identity(roots)
        if now[roots] != made_by:
            why = "is not there" if now[roots] is None else "has changed since"
            findings.append(Finding("stale", path, f"the code that made it {why}: {roots[:200]}"))
    return findings


def _identity(roots: str) -> str | None:
    names = roots.split(",")
    if not all(re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", name) for name in names):
        return None
    try:
        return identity.code_identity(*names)
    except WagleError:
        return None


def _is_used_up(path: str, record: Record, files) -> bool:
    """Was `path` removed after its one reader, together with all that lay beside it?"""
    output = USED_UP.get(record.manifest["rule"])
    under = output and f"{record.folder}/{output}"
    siblings = [f"{record.folder}/{name}" for name in record.manifest["outputs"]]
    return (
        bool(under)
        and path.startswith(under)
        and not any(p in files for p in siblings if p.startswith(under))
    )


def _left_out(root: Path, files) -> dict[str, str]:
    """Files that an archive was packed without, and their hashes; empty for a folder that is no archive."""
    found = read_json(root / ARCHIVE) if ARCHIVE in files else {}
    left_out = found.get("left_out", {}) if isinstance(found, dict) else {}
    return left_out if isinstance(left_out, dict) else {}


def _file(
    root: Path, path: str, entry: dict, record: Record, files, left_out: dict[str, str]
) -> tuple[str, str]:
    """(class, why) of one recorded file."""
    found = files.get(path)
    if found is None:
        if left_out.get(path) == entry["sha256"]:
            return "temporary", "left out of this archive"
        if _is_used_up(path, record, files):
            return "temporary", "removed after its evaluation"
        return "missing", f"recorded by {record.folder}"
    if not stat.S_ISREG(found.st_mode):
        return "altered", "a link where a file was written"
    if found.st_size != entry["bytes"]:
        return "altered", f"{found.st_size} bytes, {entry['bytes']} recorded"
    try:
        digest = sha256_file(root / path)
    except OSError as error:
        return "altered", f"cannot be read: {error.strerror}"
    return (
        ("intact", "")
        if digest == entry["sha256"]
        else ("altered", f"sha256 {digest[:12]}, {entry['sha256'][:12]} recorded")
    )


def audit(
    results: str | Path,
    *,
    code: bool = True,
    skip: tuple[str, ...] = (),
    only: set[str] | None = None,
) -> Audit:
    """Everything that can be told of the folder `results` from the folder itself and, with `code`, from this checkout.

    `skip` names top-level folders to leave out; of `only` (manifests) alone the files are hashed and findings returned.
    Raises WagleError when it is no folder or holds no record.
    """
    root = Path(results)
    files = {path: found for path, found in walk(root).items() if path.split("/")[0] not in skip}
    records, findings = load(root, files)
    if not records and not findings:
        raise WagleError(f"{root} holds no record", "a results folder, such as results/quick")
    findings += _check_records(records)
    bad = {f.path for f in findings if f.kind == "altered"}
    listed = {
        f"{record.folder}/{name}": (entry, record)
        for path, record in records.items()
        if only is None or path in only
        for name, entry in record.manifest["outputs"].items()
    }
    left_out = _left_out(root, files)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing releases the interpreter
        kinds = list(
            pool.map(lambda item: _file(root, item[0], *item[1], files, left_out), listed.items())
        )
    counts, size = Counter(), 0
    for (path, (entry, _)), (kind, why) in zip(listed.items(), kinds, strict=True):
        counts[kind] += 1
        size += entry["bytes"] if kind == "intact" else 0
        if kind != "intact":
            findings.append(Finding(kind, path, why))
    known = set(listed) | set(records) | bad | {f"{r.folder}/run.json" for r in records.values()}
    counts["intact"] += sum(path in files and path not in bad for path in known - set(listed))
    counts["altered"] += len(bad - set(listed))
    for path in sorted(set(files) - known):
        kind = _stranger(path)
        counts[kind] += kind != ""
        if kind in ("unaccounted", "unfinished"):
            findings.append(
                Finding(
                    kind,
                    path,
                    "no record lists it" if kind == "unaccounted" else "left by a stopped job",
                )
            )
    findings += _check_links(
        records,
        {f.path for f in findings if f.kind == "altered" and f.path.endswith("manifest.json")},
    )
    findings += _check_code(records) if code else []
    if only is not None:
        folders = {records[path].folder for path in only}
        findings = [
            f
            for f in findings
            if any(f.path.startswith(folder + "/") for folder in folders)
            and f.kind != "unaccounted"
        ]
    findings = sorted(dict.fromkeys(findings), key=lambda f: (CLASSES.index(f.kind), f.path, f.why))
    counts["stale"] = len({f.path for f in findings if f.kind == "stale"})
    counts["missing"] = len({f.path for f in findings if f.kind == "missing"})
    return Audit(
        root.resolve().name, records, findings, {kind: counts[kind] for kind in CLASSES}, size
    )


def _stranger(path: str) -> str:
    """Class of a file that no record lists; empty for the workflow engine's own time stamps."""
    parts = path.split("/")
    if parts[-1] == ".snakemake_timestamp" or path == ARCHIVE:
        return ""
    if parts[0] in ("logs", "benchmarks"):
        return "log"
    return "unfinished" if any(part.endswith(".part") for part in parts) else "unaccounted"


def below(records: dict[str, Record], paths: set[str]) -> set[str]:
    """The records that were made, directly or not, from those at `paths`, without these."""
    readers: dict[str, set[str]] = {}
    for path, record in records.items():
        for link in record.manifest["inputs"]:
            readers.setdefault(linked(record, link) or "", set()).add(path)
    found, pending = set(), list(paths)
    while pending:
        fresh = readers.get(pending.pop(), set()) - found
        found |= fresh
        pending += fresh
    return found - paths


def fingerprint(records: dict[str, Record]) -> str:
    """One hash over all records: two folders with the same one hold the same artifacts, made in the same way."""
    text = "\n".join(f"{path} {record.digest}" for path, record in sorted(records.items()))
    return hashlib.sha256(text.encode()).hexdigest()


MEANING = {
    "intact": "have the bytes that their jobs recorded",
    "temporary": "were removed after use or left out of an archive; their hashes stay in the records",
    "stale": "are whole, but made from an earlier input or by other code than this checkout's",
    "missing": "were recorded and are gone",
    "altered": "are not what was recorded",
    "unaccounted": "are known to no record",
    "log": "are logs and benchmarks, which no record covers",
    "unfinished": "were left by a job that was stopped; no job reads them",
}
TO_DO = {
    "missing": "delete the folder that they were in; the same snakemake command then makes it again",
    "altered": "find out who changed them; delete them and the records beside them, and their jobs run again",
    "unaccounted": "look at what they are, then move them out of the results folder",
    "stale": "snakemake -n says what would run again; to keep the results as they are, check out the code that made them",
    "unfinished": "the same snakemake command carries on and removes them",
}
VERDICTS = {
    "clean": "clean. Nothing was lost, altered or swapped: every table and figure was made from the files that are here, "
    "by the code that is here.",
    "stale": "stale. Nothing was lost, altered or swapped, but some results are older than the code or the inputs that are here.",
    "problems": "PROBLEMS. Do not trust what is listed above, nor what was made from it.",
}


def machines(records: dict[str, Record]) -> list[str]:
    """The machines and environments on which the records were made, each once, in words."""
    found = Counter()
    for run in (r.run for r in records.values() if r.run):
        where = f"{run.get('host')}, {run.get('processor')}, {run.get('accelerator') or 'no accelerator'}"
        packages = run.get("packages") if isinstance(run.get("packages"), dict) else {}
        which = ", ".join(
            f"{name} {packages[name]}" for name in ("torch", "transformers") if name in packages
        )
        found[f"{where}; Python {run.get('python')}, {which}"] += 1
    return [f"{count} jobs on {text}" for text, count in sorted(found.items())]


def text(found: Audit, most: int = 10) -> str:
    """The report for people; at most `most` paths of each class are listed."""
    lines = [
        f"{found.name}: {len(found.records)} records, {sum(found.counts.values())} files, {found.bytes / 1e6:.1f} MB hashed",
        "",
    ]
    lines += [f"{found.counts[kind]:8d} {kind:12s} {MEANING[kind]}" for kind in CLASSES]
    for kind in ("altered", "missing", "unaccounted", "stale", "unfinished"):
        here = [finding for finding in found.findings if finding.kind == kind]
        if here:
            lines += ["", f"{kind}:"] + [
                f"  {finding.path}: {finding.why}" for finding in here[:most]
            ]
            lines += [f"  and {len(here) - most} more"] * (len(here) > most)
            lines.append(f"  To do: {TO_DO[kind]}.")
    bad = {finding.path for finding in found.findings if finding.kind in ("stale", "altered")}
    affected = below(
        found.records, bad | {f"{os.path.dirname(path)}/manifest.json" for path in bad}
    )
    lines += ["", f"{len(affected)} further records were made from these."] * bool(affected)
    lines += [
        "",
        *machines(found.records),
        f"Fingerprint of all records: {fingerprint(found.records)}",
    ]
    return "\n".join([*lines, "", f"Verdict: {VERDICTS[found.verdict]}"]) + "\n"


def as_json(found: Audit) -> dict:
    """The report for programs. A function of the folder and the code alone: no times, no machine, no logs."""
    counts = {kind: found.counts[kind] for kind in CLASSES if kind not in ("log", "unfinished")}
    listed = [
        finding._asdict()
        for finding in found.findings
        if finding.kind not in ("temporary", "unfinished")
    ]
    return {
        "name": found.name,
        "verdict": found.verdict,
        "records": len(found.records),
        "files": counts,
        "findings": listed,
    }
