"""The two records that every job writes: what they hold, how they are read and checked.

    manifest.json  what the outputs are a function of: their hashes, the hashes of the input records and raw files, params,
                   code, wildcards. Deterministic, so a re-run that gives the same outputs gives the same bytes.
    run.json       what this run was: time, memory, host, package versions, the manifest's hash, and a hash of itself.

Paths in a manifest are relative to its own folder, and raw files (a user's data) are named without their place, so a results
folder can be moved and shown. Notable: records may come from strangers; they are bounded in size and name nothing outside
their results folder's shape. Left out: writing them (wagle/runtime/job.py), and following the links from a table to the model
(wagle/audit/audit.py and wagle/audit/lineage.py do that).
"""

import os
import re
from pathlib import Path

from wagle.errors import WagleError
from wagle.runtime.files import (
    AGAIN,
    artifact_files,
    is_inside,
    json_text,
    read_json,
    sha256_file,
    sha256_text,
)

FORMAT = 2


def _is_hash(value) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _is_link(name) -> bool:
    """Is `name` the relative path of another record: up some folders, then down?"""
    return (
        isinstance(name, str)
        and name.endswith("manifest.json")
        and is_inside(re.sub(r"^(\.\./)+", "", name))
    )


def read_manifest(path: str | Path) -> dict:
    """The manifest at `path`. Raises WagleError when it is missing, malformed, or names a path that it must not."""
    manifest = read_json(path)
    if (
        not isinstance(manifest, dict)
        or type(manifest.get("format")) is not int
        or manifest["format"] != FORMAT
    ):
        raise WagleError(f"{path} has not format {FORMAT}", do="re-run with this version of wagle")
    for key in ("outputs", "inputs", "raw", "params", "wildcards"):
        if not isinstance(manifest.get(key), dict):
            raise WagleError(f"{path} has no {key}", "a mapping", AGAIN)
    if not isinstance(manifest.get("rule"), str) or not all(
        isinstance(v, str) for v in manifest["wildcards"].values()
    ):
        raise WagleError(f"{path} has no rule, or wildcards that are no texts", do=AGAIN)
    for name, entry in manifest["outputs"].items():
        fits = (
            isinstance(entry, dict)
            and _is_hash(entry.get("sha256"))
            and type(entry.get("bytes")) is int
        )
        if not fits or not is_inside(name):
            raise WagleError(
                f"{path} lists the output {name[:200]!r}",
                "a path below its folder, with sha256 and bytes",
                AGAIN,
            )
    for name, digest in manifest["inputs"].items():
        if not _is_hash(digest) or not _is_link(name):
            raise WagleError(
                f"{path} lists the input {name[:200]!r}",
                "another record's relative path and sha256",
                AGAIN,
            )
    for name, digest in manifest["raw"].items():
        if not _is_hash(digest) or not is_inside(name):
            raise WagleError(
                f"{path} lists the raw file {name[:200]!r}", "a file's name and sha256", AGAIN
            )
    return manifest


def read_run(path: str | Path) -> dict:
    """The run record at `path`. Raises WagleError when a byte of it is not what was written."""
    run = read_json(path)
    if (
        not isinstance(run, dict)
        or not _is_hash(run.get("manifest_sha256"))
        or type(run.get("seconds")) not in (int, float)
    ):
        raise WagleError(f"{path} is not a run record", do=AGAIN)
    body = {key: value for key, value in run.items() if key != "sha256"}
    if (
        run.get("sha256") != sha256_text(json_text(body))
        or Path(path).read_bytes() != json_text(run).encode()
    ):
        raise WagleError(f"{path} is not what its job wrote: its own hash differs", do=AGAIN)
    return run


def run_of(manifest: Path) -> dict:
    """The run record beside `manifest`. Raises WagleError when it is altered, or another record's."""
    run = read_run(manifest.with_name("run.json"))
    if run["manifest_sha256"] != sha256_file(manifest):
        raise WagleError(
            f"{manifest} is not the record that run.json beside it belongs to", do=AGAIN
        )
    return run


def flat_paths(named) -> list[str]:
    items = named.values() if isinstance(named, dict) else named
    return [p for item in items for p in ([item] if isinstance(item, (str, Path)) else item)]


def short_names(paths: list[str]) -> list[str]:
    """The paths by their last parts, as few as keep them apart: a user's folders are nobody's business."""
    parts = [Path(os.path.abspath(path)).parts[1:] for path in paths]
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(p[-length:]) for p in parts]
        if len(set(names)) == len(set(paths)):
            return names
    return paths


def check_inputs(paths: list[str]) -> dict[str, str]:
    """sha256 by path of every record and raw file among `paths`; artifacts are compared with their record, among `paths` too.

    Raises WagleError when an artifact's bytes are not those its own job recorded, or the record is not what its job wrote.
    """
    hashes, listed, folders = {}, {}, {}
    for path in map(Path, paths):
        if path.name == "manifest.json":
            hashes[str(path)] = sha256_file(path)
            folders[path.parent] = path
            for name, entry in read_manifest(path)["outputs"].items():
                listed[path.parent / name] = entry["sha256"]
            run_of(path)
    for path in map(Path, paths):
        if path.name == "manifest.json":
            continue
        owner = next((folders[parent] for parent in path.parents if parent in folders), None)
        for name in listed:
            if (name == path or path in name.parents) and not name.is_file():
                raise WagleError(
                    f"{name} is gone, which {owner} recorded",
                    do=f"delete {path} so that its job runs again",
                )
        for file in artifact_files(path):
            found = sha256_file(file)
            if owner is None:
                hashes[str(file)] = found
            elif listed.get(file) != found:
                raise WagleError(
                    f"{file} is not what {owner} recorded",
                    f"sha256 {listed.get(file, '(not listed)')}, found {found}",
                    f"delete {path} so that its job runs again, and find out who changed it",
                )
    return hashes
