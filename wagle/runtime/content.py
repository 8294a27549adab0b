"""What large files contain, remembered by their size and time, so that it is found out once.

A model in a folder is identified by the hash of its content: a folder that moves is the same model,
and new weights under an old path are another one. Reading 13 GB takes longer than starting a run,
so outcomes are kept in small files below `WAGLE_CACHE`, by default `~/.cache/wagle`.

Notable: deleting that folder is always safe, and one that cannot be written is no error: the work
is then done again. Left out: files that change without a new size or time.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from wagle.runtime.files import sha256_file

NEVER_READ = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".md")  # pickles are not, nor what explains


def folder() -> Path:
    """Where outcomes are kept."""
    return Path(os.environ.get("WAGLE_CACHE") or "~/.cache/wagle").expanduser()


def stamp(path: Path) -> list:
    """What tells a file from a changed one without reading it: its path, size and time."""
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def remembered(key: list, compute: Callable):
    """The outcome of `compute()` for `key`, which holds the stamp of every file that it reads.

    Both are JSON values.
    """
    text = json.dumps(key, sort_keys=True)
    path = folder() / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return json.loads(path.read_text(encoding="utf-8"))["outcome"]
    outcome = compute()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps({"key": key, "outcome": outcome}), encoding="utf-8")
        os.replace(temporary, path)
    return outcome


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes."""
    return remembered(["sha256", stamp(path)], lambda: sha256_file(path))


def folder_hash(path: str | Path) -> str:
    """sha256 over the names and contents of a model folder's files.

    Hidden files and NEVER_READ do not count.
    """
    path = Path(path)
    files = sorted(
        (file.relative_to(path).as_posix(), file)
        for file in path.rglob("*")
        if file.is_file() and file.suffix not in NEVER_READ
    )
    lines = [
        f"{name} {file_hash(file)}\n"
        for name, file in files
        if not any(part.startswith(".") for part in name.split("/"))
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def identified(spec: dict | None) -> dict | None:
    """A model's block of a config as a job depends on it: a folder's content in place of its path.

    Other sources stay as they are.
    """
    if not spec or spec["source"] != "path":
        return spec
    named = {key: value for key, value in spec.items() if key != "path"}
    return named | {"sha256": folder_hash(spec["path"])}
