"""Splits as rows: what columns each role has, how rows are read, written and checked.

A split is a list of dicts. A job writes each as `rows.jsonl`, whose sha256 is the split's
fingerprint in every later record. The checks run before any model loads. Where rows come from is in
wagle/data/sources.py.

Left out: sampling and shuffling, which belong to training; the order of rows is the source's own.
"""

import gzip
import json
import zlib
from pathlib import Path

from wagle.errors import WagleError

PERTURBED = {
    "question": str,
    "answer": str,
    "paraphrased_question": str,
    "paraphrased_answer": str,
    "perturbed_answer": list,
}
CANDIDATES = {"question": str, "answer": str, "perturbed_answer": list}
PAIR = {"question": str, "answer": str}
TEXT = {"text": str}
# `answer` is the index of the right choice, from 0.
CHOICE = {"question": str, "choices": list, "answer": int}
# Alternative sets of columns by role; the first set that a split's rows have counts.
COLUMNS = {
    "forget": (PAIR, TEXT),
    "retain": (PAIR, TEXT),
    "holdout": (PAIR, TEXT),
    "general": (TEXT,),
    "forget_perturbed": (PERTURBED,),
    "retain_perturbed": (PERTURBED,),
    "real_authors": (CANDIDATES,),
    "world_facts": (CANDIDATES,),
    "refusals": (TEXT,),
    "quiz": (PAIR,),  # multiple-choice questions in the form that a model is trained on
    "wmdp_bio": (CHOICE,),
    "wmdp_cyber": (CHOICE,),
    "mmlu": ({**CHOICE, "subject": str},),
    "wikitext": (TEXT,),  # raw lines, of which some are blank
    "seen": (PAIR,),  # beginnings of forget passages and their continuations
    "unseen": (PAIR,),  # beginnings of passages that unlearning does not read
    "book": (TEXT, PAIR),  # all passages, on which the target is tuned
    "real_toxicity": (TEXT,),  # prompts
    "safe_rlhf": (TEXT,),
    "toxicity_labels": ({"text": str, "label": int},),  # 1: toxic
}
MAY_BE_BLANK = ("wikitext",)  # roles whose texts may be empty
TRAINED = ("forget", "retain")
MAX_FIELD = 5_000_000  # characters; a longer field is a broken file, not a question or a paper
# A compressed file of a few kilobytes can hold gigabytes of zeros.
MAX_LINE = 16_000_000  # characters
MAX_ROWS = 10_000_000


def read_rows(path: str | Path, first: int | None = None) -> list[dict]:
    """Rows of a .jsonl or .jsonl.gz file, one dict per line that is not empty.

    first: read at most so many rows.

    Lines end at \\n alone: str.splitlines() would also split at U+2028 inside a string.

    Raises WagleError when the file cannot be read, and naming the line that is not a JSON object or
    is too long.
    """
    path = Path(path)
    rows, number = [], 0
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), ""), 1):
                if len(line) > MAX_LINE or number > MAX_ROWS:
                    raise WagleError(
                        f"{path}, line {number}: too long a line or too many",
                        f"{MAX_LINE} characters, {MAX_ROWS} rows",
                    )
                if first is not None and len(rows) == first:
                    break
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise WagleError(
                            f"{path}, line {number} holds {type(row).__name__}", "a JSON object"
                        )
                    rows.append(row)
    except FileNotFoundError:
        raise WagleError(
            f"no file at {path}", do="check data_dir and the names under data.splits"
        ) from None
    except UnicodeDecodeError:
        raise WagleError(
            _not_utf8(path, opener),
            "UTF-8",
            f"if it is Latin-1, convert it: iconv -f LATIN1 -t UTF-8 {path.name} > new.jsonl",
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise WagleError(
            f"{path} cannot be read: {error}", "gzip or plain UTF-8 JSON lines"
        ) from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits among them
        raise WagleError(
            f"{path}, line {number} is not JSON: {error}", "one JSON object a line"
        ) from None
    return rows


def _not_utf8(path: Path, opener) -> str:
    """Where a file is not UTF-8: the reader's own position is that of a buffer, not of a line."""
    with opener(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return f"{path}, line {number} is not UTF-8: byte 0x{line[error.start]:02x}"
    return f"{path} is not UTF-8"


def write_rows(path: str | Path, rows: list[dict]) -> None:
    """Write `rows` as JSON lines with sorted keys: equal rows give equal bytes."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)


def spread(rows: list[dict], count: int) -> list[dict]:
    """At most `count` of `rows`, at equal distances."""
    count = min(count, len(rows))
    return [rows[i * len(rows) // count] for i in range(count)]


def candidates(data_dir: str | Path, name: str) -> list[Path]:
    """The files that may hold split `name`; the first that exists counts."""
    return [Path(data_dir) / f"{name}{suffix}" for suffix in (".jsonl.gz", ".jsonl", ".txt")]


def split_file(data_dir: str | Path, name: str) -> Path:
    """The file of split `name` under `data_dir`: name.jsonl.gz, name.jsonl or name.txt.

    Raises WagleError when `data_dir` is no folder, has no such file, or the file lies outside it.
    """
    root = Path(data_dir)
    if not root.is_dir():
        raise WagleError(
            f"data_dir {str(data_dir)!r} is not a folder",
            do="set data_dir to the folder that holds the data",
        )
    possible = candidates(root, name)
    for path in possible:
        if path.is_file():
            if root.resolve() not in path.resolve().parents:
                raise WagleError(f"split name {name!r} leads outside {data_dir}")
            return path
    raise WagleError(
        f"no split {name!r} in {data_dir}", f"one of {', '.join(str(c) for c in possible)}"
    )


def columns(role: str, rows: list[dict]) -> dict[str, type]:
    """The set of columns of `role` that the first of `rows` has; the role's first set otherwise."""
    alternatives = COLUMNS[role]
    return next(
        (types for types in alternatives if rows and types.keys() <= rows[0].keys()),
        alternatives[0],
    )


def check_rows(role: str, rows: list[dict], origin: str) -> None:
    """Raise WagleError unless there are rows, each with the columns and values that `role` needs.

    A text column must hold a non-empty text of at most MAX_FIELD characters, a list column such
    texts, and an integer column the index of a choice or a label of 0 or 1.
    """
    if not rows:
        raise WagleError(f"split {role} ({origin}) is empty")
    types, may_be_blank = columns(role, rows), role in MAY_BE_BLANK
    for number, row in enumerate(rows):
        location = f"split {role} ({origin}), row {number}"
        for column, column_type in types.items():
            if column not in row:
                raise WagleError(
                    f"{location} has no column {column!r}; it has {', '.join(map(str, row))}",
                    " or ".join(", ".join(each) for each in COLUMNS[role]),
                    f"rename it, in the file or by data.splits.{role}.columns: {{{column}: yours}}",
                )
            value = row[column]
            if column_type is int:
                limit = len(row["choices"]) if isinstance(row.get("choices"), list) else 2
                if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < limit:
                    raise WagleError(
                        f"{location}, column {column!r} holds {str(value)[:60]!r}",
                        f"an integer from 0 to {limit - 1}",
                    )
                continue
            texts = value if column_type is list else [value]
            if (
                not isinstance(texts, list)
                or not texts
                or not all(isinstance(t, str) and (t.strip() or may_be_blank) for t in texts)
            ):
                expected = (
                    "a list of non-empty texts" if column_type is list else "a non-empty text"
                )
                raise WagleError(
                    f"{location}, column {column!r} holds {str(value)[:60]!r}", expected
                )
            if any(len(text) > MAX_FIELD for text in texts):
                raise WagleError(
                    f"{location}, column {column!r} is longer than {MAX_FIELD} characters"
                )


def row_text(row: dict) -> str:
    """A row as one text, for training a tokenizer."""
    return row["text"] if "text" in row else f"{row['question']} {row['answer']}"


def _key(row: dict) -> tuple:
    """What makes two rows the same row."""
    return (row["text"],) if "text" in row else (row["question"], row["answer"])


def repeated(role: str, rows: list[dict]) -> list[int]:
    """Numbers of the rows that repeat an earlier one, in roles that are trained on or averaged."""
    if not any(types.keys() & {"question"} or role in TRAINED for types in COLUMNS[role]):
        return []
    if "choices" in columns(role, rows):
        return []
    seen: set[tuple] = set()
    again = []
    for number, row in enumerate(rows):
        if (key := _key(row)) in seen:
            again.append(number)
        seen.add(key)
    return again


def check_together(splits: dict[str, list[dict]]) -> None:
    """Raise WagleError unless the splits fit each other.

    Forget and retain share no row with each other, nor with a holdout. Perturbed rows repeat rows
    of their own set. `seen` prompts are forget rows, and `unseen` ones are in neither set, so that
    unlearning does not read them. Where there is a `book`, on which the target is tuned, it has
    the forget rows and both kinds of prompts: what the target never knew cannot be forgotten.
    """
    known_keys = {role: set(map(_key, splits[role])) for role in ("forget", "retain")}
    shared = known_keys["forget"] & known_keys["retain"]
    if shared:
        raise WagleError(
            f"{len(shared)} rows are in both forget and retain, such as {min(shared)[0][:60]!r}",
            "disjoint sets",
        )
    for role in ("forget", "retain"):
        if known_keys[role] & set(map(_key, splits.get("holdout", []))):
            raise WagleError(
                f"holdout shares rows with {role}", "rows that no model was trained on"
            )
        perturbed = splits.get(f"{role}_perturbed", [])
        for number, row in enumerate(perturbed):
            if _key(row) not in known_keys[role]:
                raise WagleError(
                    f"{role}_perturbed, row {number} ({row['question']!r}) "
                    f"does not match any question and answer of {role}",
                    f"perturbed versions of rows of {role}, the same texts letter for letter",
                    "check that both splits come from one release and that `rows` cuts them alike",
                )
        counts = {len(row["perturbed_answer"]) for row in perturbed}
        if len(counts) > 1:
            raise WagleError(
                f"{role}_perturbed rows have {sorted(counts)} perturbed answers",
                "one number for all rows",
            )
    if not set(map(_key, splits.get("seen", []))) <= known_keys["forget"]:
        raise WagleError(
            "a row of seen is not in forget", "prompts of passages that are to be forgotten"
        )
    if set(map(_key, splits.get("unseen", []))) & (known_keys["forget"] | known_keys["retain"]):
        raise WagleError(
            "unseen shares rows with forget or retain", "passages that unlearning does not read"
        )
    if "book" in splits:
        book = set(map(row_text, splits["book"]))
        for role in ("forget", "seen", "unseen"):
            absent = sum(row_text(row) not in book for row in splits.get(role, []))
            if absent:
                raise WagleError(
                    f"{absent} rows of {role} are no passages of book",
                    "passages that the target was tuned on",
                    "cut both from the same text, with the same number of words",
                )
