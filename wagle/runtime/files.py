"""Files of artifacts: hashes, JSON in one form, and writing whole or not at all.

Notable: JSON that is read may come from strangers, so its size and values are checked.
Left out: tensors (wagle/model/tensors.py) and tables.
"""

import hashlib
import json
import os
import shutil
import stat
from pathlib import Path

from wagle.errors import WagleError

RECORD_LIMIT = 64 * 2**20  # bytes of a record: the largest real one names a few thousand files
LARGE_LIMIT = 512 * 2**20  # bytes of per-row values, and of other projects' logs
TO_MAKE_AGAIN = "delete it; its job then runs again"


def sha256_file(path: Path) -> str:
    """sha256 of a file's bytes, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """sha256 of a text as UTF-8, as hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def artifact_files(path: Path) -> list[Path]:
    """The files of an artifact: `path` itself, or all files below it.

    Snakemake's own time stamp inside a folder is not part of the artifact.
    """
    if not path.is_dir():
        return [path]
    return sorted(p for p in path.rglob("*") if p.is_file() and p.name != ".snakemake_timestamp")


def flush(path: Path) -> None:
    """Have the system write the files of an artifact to the disk now."""
    for file in artifact_files(path):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, a symbolic link or a whole folder; a missing one is no error."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def json_text(value) -> str:
    """The one way in which this project writes JSON: sorted keys, indented, UTF-8."""
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def part(path: Path) -> Path:
    """Where `path` is written before it gets its name."""
    return path.with_name(path.name + ".part")


def write_part(path: Path, value) -> None:
    """Write `value` as `json_text` gives it to `part(path)`, and have the system save it."""
    part(path).write_text(json_text(value), encoding="utf-8")
    flush(part(path))


def write_json(path: Path, value) -> None:
    """Write `value` as `json_text` gives it, whole or not at all."""
    write_part(path, value)
    os.replace(part(path), path)


def read_json(path: str | Path, *, limit: int = RECORD_LIMIT, strict: bool = True):
    """The JSON value in `path`.

    A strict reading is for records. It takes only a regular file, and no value that a record cannot
    hold: no NaN or Infinity, and no half of a surrogate pair. Metrics, which may be NaN, and other
    projects' logs are read with `strict` off.

    Raises WagleError when the file is missing, larger than `limit` bytes, or not JSON.
    """
    path = Path(path)
    advice = TO_MAKE_AGAIN if strict else ""
    try:
        status = path.stat()
        if status.st_size > limit or (strict and not stat.S_ISREG(status.st_mode)):
            raise WagleError(
                f"{path} is no file of a fitting size ({status.st_size} bytes)",
                f"a file of at most {limit} bytes",
                advice,
            )
        constant = _refuse_constant if strict else None
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=constant)
        if strict:
            json_text(value).encode()  # half a surrogate pair can be parsed, but never written
        return value
    except OSError as error:
        raise WagleError(
            f"{path} cannot be read: {error.strerror}",
            do="run the job that makes it again" if strict else "",
        ) from None
    except (ValueError, RecursionError) as error:
        # not UTF-8, not JSON, a number of thousands of digits, or nested too deep
        raise WagleError(f"{path} is not readable JSON: {str(error)[:200]}", do=advice) from None


def _refuse_constant(name: str):
    raise ValueError(f"{name} is no JSON value")


def is_inside(name) -> bool:
    """Is `name` a relative path, without `.` and `..`, that stays below its folder?"""
    if not isinstance(name, str) or not name or "\\" in name or not name.isprintable():
        return False
    return all(component not in ("", ".", "..") for component in name.split("/"))
