"""Where a split's rows come from: a hub (pinned revision), a folder of files, or the built-in generator.

An entry under data.splits names the rows of one role: `name` and `source`; `where` and `columns` pick and rename; `longest`
leaves out rows with more characters; `form` makes text, passages or quiz questions of raw rows (wagle/data/reshape.py); `rows:
[first, last + 1]` or `spread: n` (n rows at equal distances) cuts the result. A list of entries is one split after another.

Notable: the generator is imported by name, so only splits made by it depend on its code.
"""

import importlib
from pathlib import Path

from wagle.data import reshape
from wagle.data.rows import check_rows, columns, read_rows, split_file
from wagle.errors import WagleError


def load_split(role: str, spec: dict | list[dict], data: dict, data_dir: str | None) -> list[dict]:
    """Rows of one role: `spec` is its entry (or entries) under data.splits, `data` the whole data block.

    Raises WagleError when the source lacks the split or the rows do not have the role's columns.
    """
    rows = []
    for part in spec if isinstance(spec, list) else [spec]:
        found, origin = _raw(role, part, data, data_dir)
        found = reshape.pick(part, found, origin)
        if "longest" in part:
            found = [
                row for row in found if sum(map(len, map(str, row.values()))) <= part["longest"]
            ]
        found = reshape.apply(part, found, origin)
        if "rows" in part:
            start, stop = part["rows"]
            if stop > len(found):
                raise WagleError(
                    f"data.splits.{role}.rows ends at {stop}, but {origin} has {len(found)} rows"
                )
            found = found[start:stop]
        if "spread" in part:
            count = min(part["spread"], len(found))
            found = [found[i * len(found) // count] for i in range(count)]
        check_rows(role, found, origin)
        wanted = columns(role, found)
        rows += [{column: row[column] for column in wanted} for row in found]
    check_rows(role, rows, "all parts")
    return rows


def _raw(role: str, spec: dict, data: dict, data_dir: str | None) -> tuple[list[dict], str]:
    source, name = spec.get("source", data["source"]), spec.get("name", role)
    if source == "files":
        path = split_file(data_dir, name)
        return (_book(path) if path.suffix == ".txt" else read_rows(path)), name
    if source == "hub":
        dataset, revision = (
            spec.get("dataset", data.get("dataset")),
            spec.get("revision", data.get("revision")),
        )
        return _from_hub(dataset, name, revision, spec.get("split", "train")), f"{dataset}:{name}"
    synthetic = importlib.import_module("wagle.data.synthetic")
    return synthetic.split(name, **data.get("synthetic", {})), f"synthetic:{name}"


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


def _from_hub(dataset: str, name: str, revision: str, split: str) -> list[dict]:
    from datasets import load_dataset

    try:
        return [dict(row) for row in load_dataset(dataset, name, revision=revision, split=split)]
    except (OSError, ValueError) as error:
        raise WagleError(
            f"{dataset} ({name}) at {revision} could not be loaded: {error}",
            do="check the network and your access to it, or pre-fetch it and set HF_HUB_OFFLINE=1, or use source: files",
        ) from None
