"""Files of artifacts: hashes, JSON in one form, and writing whole or not at all.

Notable: JSON that is read may come from strangers, so its size and values are checked. Left out: tensors and tables.
"""

import hashlib
import json
import os
import shutil
import stat
from pathlib import Path

from wagle.errors import WagleError

MAX_BYTES = 64 * 2**20  # of a record: the largest real one names a few thousand files
AGAIN = "delete it; its job then runs again"


def sha256_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def artifact_files(path: Path) -> list[Path]:
    """The files of an artifact; the workflow engine's own time stamp inside a folder is not part of it."""
    if not path.is_dir():
        return [path]
    return sorted(p for p in path.rglob("*") if p.is_file() and p.name != ".snakemake_timestamp")


def flush(path: Path) -> None:
    for file in artifact_files(path):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def json_text(value) -> str:
    """The one way in which this project writes JSON: sorted keys, indented, UTF-8."""
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def write_json(path: Path, value) -> None:
    """Write `value` as indented JSON with sorted keys, atomically."""
    part = path.with_name(path.name + ".part")
    part.write_text(json_text(value), encoding="utf-8")
    flush(part)
    os.replace(part, path)


def read_json(path: str | Path, most: int = MAX_BYTES):
    """The JSON value in `path`. Raises WagleError when it is missing, no regular file, larger than `most` bytes or not JSON."""
    path = Path(path)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > most:
            raise WagleError(
                f"{path} is no file of a fitting size ({found.st_size} bytes)",
                f"a file of at most {most} bytes",
                AGAIN,
            )
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
        json_text(value).encode()  # half a surrogate pair can be parsed, but never written
        return value
    except OSError as error:
        raise WagleError(
            f"{path} cannot be read: {error.strerror}", do="run the job that makes it again"
        ) from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # not UTF-8, not JSON, a number of thousands of digits, nested too deep
        raise WagleError(f"{path} is not readable JSON: {str(error)[:200]}", do=AGAIN) from None


def _no_constant(name: str):
    raise ValueError(f"{name} is no JSON value")


def is_inside(name) -> bool:
    """Is `name` a plain relative path that stays below its folder?"""
    if not isinstance(name, str) or not name or "\\" in name or not name.isprintable():
        return False
    return all(part not in ("", ".", "..") for part in name.split("/"))
