"""Where a split's rows come from: a hub, a folder of files, or the built-in generator.

An entry under data.splits says where the rows of one role come from and what is done to them:

    source, name       hub (pinned revision), files or synthetic; and the split's name there
    where, columns     select rows by value and rename columns
    longest            leaves out rows with more characters
    form               makes texts, passages or quiz questions of raw rows (wagle/data/reshape.py)
    rows, spread       the range [first, last + 1], or so many rows at equal distances

A list of entries is one split after another.

Notable: the generator is imported by name, so only splits made by it depend on its code.
"""

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from wagle.data import reshape
from wagle.data.rows import check_rows, columns, read_rows, split_file, spread
from wagle.errors import WagleError


class RawRows(NamedTuple):
    """Rows as their source has them, and the source's name for messages.

    They are read once, one after another: papers of the hub may be larger than the memory.
    """

    rows: Iterable[dict]
    origin: str


def load_split(
    role: str,
    spec: dict | list[dict],
    data: dict,
    data_dir: str | None,
    *,
    first: int | None = None,
) -> list[dict]:
    """Rows of one role.

    spec: the role's entry (or entries) under data.splits. data: the whole data block.
    data_dir: the folder that `source: files` reads.
    first: of each file with JSON lines, read at most so many.

    Raises WagleError when the source lacks the split or the rows do not have the role's columns.
    """
    result = []
    for entry in spec if isinstance(spec, list) else [spec]:
        raw = _load_raw(role, entry, data, data_dir, first)
        rows = reshape.pick(entry, raw.rows, raw.origin)
        if "longest" in entry:
            limit = entry["longest"]
            rows = [row for row in rows if sum(map(len, map(str, row.values()))) <= limit]
        rows = reshape.apply(entry, rows, raw.origin)
        if "rows" in entry:
            start, stop = entry["rows"]
            if stop > len(rows):
                raise WagleError(
                    f"data.splits.{role}.rows ends at {stop}, but {raw.origin} has {len(rows)} rows"
                )
            rows = rows[start:stop]
        if "spread" in entry:
            rows = spread(rows, entry["spread"])
        check_rows(role, rows, raw.origin)
        names = columns(role, rows)
        result += [{name: row[name] for name in names} for row in rows]
    check_rows(role, result, "all parts")
    return result


def _load_raw(
    role: str, spec: dict, data: dict, data_dir: str | None, first: int | None
) -> RawRows:
    source, name = spec.get("source", data["source"]), spec.get("name", role)
    if source == "files":
        path = split_file(data_dir, name)
        return RawRows(_book(path) if path.suffix == ".txt" else read_rows(path, first), name)
    if source == "hub":
        dataset = spec.get("dataset", data.get("dataset"))
        revision = spec.get("revision", data.get("revision"))
        rows = _from_hub(dataset, name, revision, spec.get("split", "train"))
        return RawRows(rows, f"{dataset}:{name}")
    synthetic = importlib.import_module("wagle.data.synthetic")
    return RawRows(synthetic.split(name, **data.get("synthetic", {})), f"synthetic:{name}")


def _book(path: Path) -> list[dict]:
    """Paragraphs of a plain text file, such as a book."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise WagleError(f"{path} cannot be read: {error}", "plain UTF-8 text") from None
    return [
        {"text": paragraph}
        for paragraph in text.replace("\r\n", "\n").split("\n\n")
        if paragraph.strip()
    ]


def _from_hub(dataset: str, name: str, revision: str, split: str) -> Iterable[dict]:
    from datasets import load_dataset

    try:
        return load_dataset(dataset, name, revision=revision, split=split)
    except (OSError, ValueError) as error:
        raise WagleError(
            f"{dataset} ({name}) at {revision} could not be loaded: {error}",
            do="check the network and your access to it, "
            "or pre-fetch it and set HF_HUB_OFFLINE=1, or use source: files",
        ) from None
