"""The two records that every job writes: what they hold, how they are read and checked.

    manifest.json  what the outputs are a function of: their hashes, the hashes of the input records
                   and raw files, params, code, wildcards. It is deterministic, so a re-run that
                   gives the same outputs gives the same bytes.
    run.json       what this run was: time, memory, host, package versions, the manifest's hash, and
                   a hash of itself.

Paths in a manifest are relative to its own folder, and raw files (a user's data) are named without
their place, so a results folder can be moved and shown.

Notable: records may come from strangers. They are bounded in size, and name nothing outside their
results folder.
Left out: writing them (wagle/runtime/job.py), and following a record's inputs down to the data
(wagle/audit/record_graph.py).
"""

import os
import re
from pathlib import Path

from wagle.errors import WagleError
from wagle.runtime.files import (
    TO_MAKE_AGAIN,
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
    """The manifest at `path`.

    Raises WagleError when it is missing, malformed, or names a path that it must not.
    """
    manifest = read_json(path)
    if (
        not isinstance(manifest, dict)
        or type(manifest.get("format")) is not int
        or manifest["format"] != FORMAT
    ):
        raise WagleError(f"{path} has not format {FORMAT}", do="re-run with this version of wagle")
    for key in ("outputs", "inputs", "raw", "params", "wildcards"):
        if not isinstance(manifest.get(key), dict):
            raise WagleError(f"{path} has no {key}", "a mapping", TO_MAKE_AGAIN)
    if not isinstance(manifest.get("rule"), str) or not all(
        isinstance(v, str) for v in manifest["wildcards"].values()
    ):
        raise WagleError(f"{path} has no rule, or wildcards that are no texts", do=TO_MAKE_AGAIN)
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
                TO_MAKE_AGAIN,
            )
    for name, digest in manifest["inputs"].items():
        if not _is_hash(digest) or not _is_link(name):
            raise WagleError(
                f"{path} lists the input {name[:200]!r}",
                "another record's relative path and sha256",
                TO_MAKE_AGAIN,
            )
    for name, digest in manifest["raw"].items():
        if not _is_hash(digest) or not is_inside(name):
            raise WagleError(
                f"{path} lists the raw file {name[:200]!r}",
                "a file's name and sha256",
                TO_MAKE_AGAIN,
            )
    return manifest


def read_run(path: str | Path) -> dict:
    """The run record at `path`.

    Raises WagleError when it is missing, malformed, or not byte for byte what its job wrote.
    """
    run = read_json(path)
    if (
        not isinstance(run, dict)
        or not _is_hash(run.get("manifest_sha256"))
        or type(run.get("seconds")) not in (int, float)
    ):
        raise WagleError(f"{path} is not a run record", do=TO_MAKE_AGAIN)
    body = {key: value for key, value in run.items() if key != "sha256"}
    if (
        run.get("sha256") != sha256_text(json_text(body))
        or Path(path).read_bytes() != json_text(run).encode()
    ):
        raise WagleError(
            f"{path} is not what its job wrote: its own hash differs", do=TO_MAKE_AGAIN
        )
    return run


def run_of(manifest: Path) -> dict:
    """The run record beside `manifest`.

    Raises WagleError when it is altered, or belongs to another record.
    """
    run = read_run(manifest.with_name("run.json"))
    if run["manifest_sha256"] != sha256_file(manifest):
        raise WagleError(
            f"{manifest} is not the record that run.json beside it belongs to", do=TO_MAKE_AGAIN
        )
    return run


def flat_paths(named) -> list[str]:
    """All paths of a job's input: a list or mapping whose values are paths or lists of paths."""
    items = named.values() if isinstance(named, dict) else named
    return [p for item in items for p in ([item] if isinstance(item, (str, Path)) else item)]


def short_names(paths: list[str]) -> list[str]:
    """The paths by their last parts, as few as keep them apart.

    The folders of a user's data are private, so a record does not name them.
    """
    parts = [Path(os.path.abspath(path)).parts[1:] for path in paths]
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(p[-length:]) for p in parts]
        if len(set(names)) == len(set(paths)):
            return names
    return paths


def check_inputs(paths: list[str]) -> dict[str, str]:
    """sha256 by path of every record and raw file among `paths`.

    The artifacts among `paths` are compared with their records, which are there too. Raises
    WagleError when an artifact's bytes are not those that its own job recorded, or when a record is
    not what its job wrote.
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
            digest = sha256_file(file)
            if owner is None:
                hashes[str(file)] = digest
            elif listed.get(file) != digest:
                raise WagleError(
                    f"{file} is not what {owner} recorded",
                    f"sha256 {listed.get(file, '(not listed)')}, found {digest}",
                    f"delete {path} so that its job runs again, and find out who changed it",
                )
    return hashes
