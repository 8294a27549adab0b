"""Splits of question-answer rows from a hub, a folder of files, or the built-in generator; checked before any model loads.

A split is a list of plain dicts with TOFU's columns. Roles and the columns they must have are in `COLUMNS`. A job writes
each split as `rows.jsonl`, whose sha256 is the split's fingerprint in every later record.

Left out: the order of rows is the source's own; drawing and shuffling belong to training.
"""

import gzip
import importlib
import json
from pathlib import Path

from wagle.errors import WagleError

PERTURBED = {"question": str, "answer": str, "paraphrased_question": str, "paraphrased_answer": str, "perturbed_answer": list}
CHOICE = {"question": str, "answer": str, "perturbed_answer": list}
COLUMNS = {
    "forget": {"question": str, "answer": str},
    "retain": {"question": str, "answer": str},
    "holdout": {"question": str, "answer": str},
    "forget_perturbed": PERTURBED,
    "retain_perturbed": PERTURBED,
    "real_authors": CHOICE,
    "world_facts": CHOICE,
    "refusals": {"text": str},
}
MAX_FIELD = 100_000  # characters; a longer field is a broken file, not a question


def read_rows(path: str | Path) -> list[dict]:
    """Rows of a .jsonl or .jsonl.gz file. Raises WagleError naming the line that is not a JSON object.

    Lines end at \\n alone: str.splitlines() would also cut at U+2028 inside a string.
    """
    path = Path(path)
    rows = []
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise WagleError(f"{path}, line {number} holds {type(row).__name__}", "a JSON object")
                    rows.append(row)
    except FileNotFoundError:
        raise WagleError(f"no file at {path}", do="check data_dir and the names under data.splits") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise WagleError(f"{path}, line {number} is not JSON: {error}") from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise WagleError(f"{path} cannot be read: {error}", "gzip or plain UTF-8 JSON lines") from None
    return rows


def write_rows(path: str | Path, rows: list[dict]) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)


def split_file(data_dir: str | Path, name: str) -> Path:
    """The file of split `name` under `data_dir`: name.jsonl.gz or name.jsonl, never outside `data_dir`."""
    root = Path(data_dir)
    if not root.is_dir():
        raise WagleError(f"data_dir {str(data_dir)!r} is not a folder", do="set data_dir to the folder that holds the data")
    candidates = [root / f"{name}.jsonl.gz", root / f"{name}.jsonl"]
    for path in candidates:
        if path.is_file():
            if root.resolve() not in path.resolve().parents:
                raise WagleError(f"split name {name!r} leads outside {data_dir}")
            return path
    raise WagleError(f"no split {name!r} in {data_dir}", f"one of {', '.join(str(c) for c in candidates)}")


def load_split(role: str, spec: dict, data: dict, data_dir: str | None) -> list[dict]:
    """Rows of one role: `spec` is its entry under data.splits (name, rows, source), `data` the whole data block.

    Raises WagleError when the source lacks the split or the rows do not have the role's columns.
    """
    source = spec.get("source", data["source"])
    name = spec.get("name", role)
    if source == "files":
        rows, origin = read_rows(split_file(data_dir, name)), name
    elif source == "hub":
        rows, origin = _from_hub(data["dataset"], name, data["revision"]), f"{data['dataset']}:{name}"
    else:
        # by name: only splits made by it depend on its code (the rule names it)
        synthetic = importlib.import_module("wagle.synthetic")
        rows, origin = synthetic.split(role, **data.get("synthetic", {})), f"synthetic:{role}"
    if "rows" in spec:
        start, stop = spec["rows"]
        if stop > len(rows):
            raise WagleError(f"data.splits.{role}.rows ends at {stop}, but {origin} has {len(rows)} rows")
        rows = rows[start:stop]
    check_rows(role, rows, origin)
    return [{column: row[column] for column in COLUMNS[role]} for row in rows]


def _from_hub(dataset: str, name: str, revision: str) -> list[dict]:
    from datasets import load_dataset

    try:
        return [dict(row) for row in load_dataset(dataset, name, revision=revision, split="train")]
    except (OSError, ValueError) as error:
        raise WagleError(
            f"{dataset} ({name}) at {revision} could not be loaded: {error}",
            do="check the network, or pre-fetch it and set HF_HUB_OFFLINE=1, or use source: files",
        ) from None


def check_rows(role: str, rows: list[dict], origin: str) -> None:
    """Raise WagleError unless `rows` is non-empty and each row has the columns, types and text that `role` needs."""
    if not rows:
        raise WagleError(f"split {role} ({origin}) is empty")
    for number, row in enumerate(rows):
        where = f"split {role} ({origin}), row {number}"
        for column, kind in COLUMNS[role].items():
            if column not in row:
                raise WagleError(f"{where} has no column {column!r}; it has {', '.join(map(str, row))}")
            value = row[column]
            texts = value if kind is list else [value]
            if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t.strip() for t in texts):
                what = "a list of non-empty texts" if kind is list else "a non-empty text"
                raise WagleError(f"{where}, column {column!r} holds {str(value)[:60]!r}", what)
            if any(len(text) > MAX_FIELD for text in texts):
                raise WagleError(f"{where}, column {column!r} is longer than {MAX_FIELD} characters")


def check_together(splits: dict[str, list[dict]]) -> None:
    """Raise WagleError unless the splits fit: perturbed rows repeat rows of their own set, forget and retain share none."""
    pairs = {role: {(row["question"], row["answer"]) for row in splits[role]} for role in ("forget", "retain")}
    shared = pairs["forget"] & pairs["retain"]
    if shared:
        raise WagleError(f"{len(shared)} rows are in both forget and retain, such as {min(shared)[0]!r}", "disjoint sets")
    for role in ("forget", "retain"):
        if "holdout" in splits and pairs[role] & {(row["question"], row["answer"]) for row in splits["holdout"]}:
            raise WagleError(f"holdout shares rows with {role}", "rows that no model was trained on")
        for number, row in enumerate(splits[f"{role}_perturbed"]):
            if (row["question"], row["answer"]) not in pairs[role]:
                raise WagleError(
                    f"{role}_perturbed, row {number} ({row['question']!r}) does not match any question and answer of {role}",
                    f"perturbed versions of rows of {role}, the same texts letter for letter",
                    "check that both splits come from one release and that `rows` cuts them alike",
                )
        wrong = {len(row["perturbed_answer"]) for row in splits[f"{role}_perturbed"]}
        if len(wrong) > 1:
            raise WagleError(f"{role}_perturbed rows have {sorted(wrong)} perturbed answers", "one number for all rows")
