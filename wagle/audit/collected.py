"""The numbers of a finished experiment, and how a reader names one of them.

The collected metrics (collected/metrics.csv) have one row for each number and seed. A reader asks
in words, such as "npo wagle retain-acc": a method, a selection and a metric. `seed=1`, `ratio=0.5`,
`gamma=1e-06` and `protocol=tofu` narrow it.

Notable: without a ratio the cells of the main table are meant. Words that fit several numbers are
an error that lists them, never a guess.
Left out: where a number comes from (wagle/audit/lineage.py).
"""

import csv
import re
from pathlib import Path
from typing import NamedTuple

from wagle.errors import WagleError
from wagle.experiment.cells import Cell

FOLDER = "collected"
COLUMNS = ("method", "selection", "ratio", "gamma", "seed", "protocol", "metric")


class NumberKey(NamedTuple):
    """What one number is of: a row of the collected metrics without its seed, values as text."""

    method: str
    selection: str
    ratio: str
    gamma: str
    protocol: str
    metric: str

    @property
    def words(self) -> str:
        """The number's name in words that `select_number` understands."""
        named = {"ratio": f"ratio={self.ratio}", "gamma": f"gamma={self.gamma}"}
        fields = self._asdict().items()
        return " ".join(named.get(field, value) for field, value in fields if value)

    @property
    def label(self) -> str:
        """The number's name in a list: the cell, the protocol in brackets, the metric."""
        ratio, gamma = self.ratio and f"ratio={self.ratio}", self.gamma and f"gamma={self.gamma}"
        parts = (self.method, self.selection, ratio, gamma, f"[{self.protocol}]", self.metric)
        return " ".join(part for part in parts if part)


def read_collected(root: Path) -> list[dict]:
    """Rows of the collected metrics, values as text.

    Raises WagleError when the file cannot be read or is no table of metrics.
    """
    path = root / FOLDER / "metrics.csv"
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WagleError(
            f"{path} cannot be read: {error}", "the collected metrics of a finished experiment"
        ) from None
    if not rows or any(column not in rows[0] for column in (*COLUMNS, "value")):
        raise WagleError(
            f"{path} is not a table of metrics", f"the columns {', '.join(COLUMNS)}, value"
        )
    return rows


def number_key(row: dict) -> NumberKey:
    """The number that `row` gives for one seed."""
    return NumberKey(*(row[field] for field in NumberKey._fields))


def cell_of(row: dict) -> Cell:
    """The cell of a row. Raises WagleError when its ratio, gamma or seed is no number."""
    try:
        return Cell(
            method=row["method"],
            selection=row["selection"],
            ratio=float(row["ratio"]) if row["ratio"] else None,
            gamma=float(row["gamma"]) if row["gamma"] else None,
            seed=int(row["seed"]) if row["seed"] else None,
            tuned=row.get("tuned") == "True",
        )
    except ValueError as error:
        raise WagleError(f"a row of the collected metrics is malformed: {error}") from None


def select_number(rows: list[dict], words: str, main_cells: set[str]) -> list[dict]:
    """The rows, one a seed, of the one number that `words` name.

    `main_cells` are the ids of the main table's cells. Raises WagleError when the words fit no
    number, or several.
    """
    metric_words = []
    for word in words.split():
        column, equals, value = word.partition("=")
        if not equals:
            metric_words.append(word)
            continue
        if column not in COLUMNS:
            raise WagleError(f"{word!r}: no such key", f"one of {', '.join(COLUMNS)}")
        rows = _with_value(rows, column, value)
    for column in ("method", "selection", "protocol"):
        known = {_normalised(row[column]) for row in rows} - {""}
        word = next((word for word in metric_words if _normalised(word) in known), None)
        if word:
            metric_words.remove(word)
            rows = _with_value(rows, column, word)
    if metric_words:
        rows = _with_metric(rows, metric_words, words)
    if len({(row["ratio"], row["gamma"]) for row in rows}) > 1:
        rows = [row for row in rows if cell_of(row).id in main_cells] or rows
    numbers = sorted({number_key(row) for row in rows})
    if len(numbers) != 1:
        listed = "; ".join(number.words for number in numbers[:12]) or "none"
        if len(numbers) > 12:
            listed += f"; and {len(numbers) - 12} more"
        raise WagleError(
            f"{words!r} fits {len(numbers)} numbers: {listed}",
            "one",
            "add words, such as protocol=wagle or ratio=0.8",
        )
    return rows


def _normalised(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _with_value(rows: list[dict], column: str, value: str) -> list[dict]:
    """Rows whose `column` is `value`, compared as numbers where both are numbers."""

    def equal(other: str) -> bool:
        try:
            return float(other) == float(value)
        except ValueError:
            return _normalised(other) == _normalised(value)

    matching = [row for row in rows if equal(row[column])]
    if not matching:
        known = ", ".join(sorted({row[column] for row in rows} - {""})) or "none"
        raise WagleError(f"nothing has {column} {value!r}", f"one of {known}")
    return matching


def _with_metric(rows: list[dict], metric_words: list[str], words: str) -> list[dict]:
    """Rows of the metric with that name, or else of the metrics whose name holds the words."""
    wanted = _normalised("".join(metric_words))
    exact = [row for row in rows if _normalised(row["metric"]) == wanted]
    matching = exact or [row for row in rows if wanted and wanted in _normalised(row["metric"])]
    if not matching:
        known = ", ".join(sorted({row["metric"] for row in rows}))
        raise WagleError(
            f"{' '.join(metric_words)!r} is no metric of the experiment's {words!r}",
            f"one of {known}",
        )
    return matching
