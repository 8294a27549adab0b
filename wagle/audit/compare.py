"""Which numbers of two results folders differ, and by more than chance?

Numbers are compared cell by cell (method, selection, ratio, gamma), protocol and metric. The
statistics engine (wagle/evaluation/statistics.py) gives each difference its standard error and p,
over rows and seeds. Rows are paired where both folders evaluated the same data, and seeds where
both have them. A table has many cells, so p is also given after Holm's correction over all
comparisons made.

Notable: the report for people lists the largest differences first, and below them what was done
differently (wagle/audit/record_changes.py): the candidates for the cause.
Left out: which of them is the cause.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

from wagle.audit.collected import NumberKey, cell_of, number_key, read_collected
from wagle.audit.record_graph import Record, load_records, resolve_input
from wagle.errors import WagleError
from wagle.evaluation.cell_values import CellValues, cell_values, difference_of, read
from wagle.evaluation.statistics import holm
from wagle.experiment.cells import Cell


@dataclass(frozen=True)
class NumberComparison:
    """One number in both folders.

    `first` and `second` are means over seeds, `difference` is second - first, and `se` its standard
    error. `low` and `high` bound its 95 % interval. `p` is two-sided, and `adjusted` is p after
    Holm's correction. `covers` says which variation the error covers. Where it covers none, as for
    one seed of a metric without rows, `se` is infinite and both p are NaN.
    """

    name: str
    first: float
    second: float
    difference: float
    se: float
    low: float
    high: float
    p: float
    adjusted: float
    covers: str


@dataclass(frozen=True)
class FolderComparison:
    """The numbers in both folders, and the names of those in one of them only."""

    both: list[NumberComparison]
    only_first: list[str]
    only_second: list[str]


@dataclass(frozen=True)
class _Side:
    """One of the two folders: its records, and the collected rows of each number, one a seed."""

    root: Path
    records: dict[str, Record]
    numbers: dict[NumberKey, list[dict]]


def compare_numbers(first: str | Path, second: str | Path) -> FolderComparison:
    """Compare every number that both folders have.

    Raises WagleError when a folder has no collected metrics.
    """
    one, two = _read_side(Path(first)), _read_side(Path(second))
    both = [_compare(key, one, two) for key in one.numbers if key in two.numbers]
    adjusted = holm([comparison.p for comparison in both])
    return FolderComparison(
        both=[
            dataclasses.replace(comparison, adjusted=p)
            for comparison, p in zip(both, adjusted, strict=True)
        ],
        only_first=[key.label for key in one.numbers if key not in two.numbers],
        only_second=[key.label for key in two.numbers if key not in one.numbers],
    )


def _read_side(root: Path) -> _Side:
    numbers: dict[NumberKey, list[dict]] = {}
    for row in read_collected(root):
        numbers.setdefault(number_key(row), []).append(row)
    return _Side(root, load_records(root).records, numbers)


def _compare(key: NumberKey, first: _Side, second: _Side) -> NumberComparison:
    """Compare one number; `adjusted` is still NaN."""
    sides = [_values(key, side) for side in (first, second)]
    means = [float(side.totals().mean()) for side in sides]
    nothing = NumberComparison(
        key.label, *means, means[1] - means[0], *[math.nan] * 5, "nothing: a value is no number"
    )
    try:
        result = difference_of(
            sides[1], sides[0], paired_rows=_same_rows(key, first, second, sides)
        )
    except WagleError:  # a blank or NaN
        return nothing
    if result.value == 0:
        p, covers = 1.0, "equal"
    else:
        p, covers = (result.p if result.se < math.inf else math.nan), result.covers
    return NumberComparison(
        key.label, *means, result.value, result.se, result.low, result.high, p, math.nan, covers
    )


def _values(key: NumberKey, side: _Side) -> CellValues:
    """The number over its seeds, with its rows where the folder has them."""
    values, rows = {}, {}
    for row in side.numbers[key]:
        values[row["seed"]] = _number(row["value"])
        metrics = read(side.root / "metrics" / cell_of(row).id / "rows.json").get(key.protocol, {})
        rows[row["seed"]] = metrics.get(key.metric) if isinstance(metrics, dict) else None
    return cell_values(values, rows)


def _number(cell: str | None) -> float:
    try:
        return float(cell or "nan")
    except ValueError:
        return math.nan


def _same_rows(key: NumberKey, first: _Side, second: _Side, values: list[CellValues]) -> bool:
    """Whether both sides' rows are those of the same data, in the same order."""
    shapes = [{name: x.shape[1:] for name, x in side.parts.items()} for side in values]
    splits = [_evaluated_splits(side, cell_of(side.numbers[key][0])) for side in (first, second)]
    return shapes[0] == shapes[1] and bool(splits[0]) and splits[0] == splits[1]


def _evaluated_splits(side: _Side, cell: Cell) -> dict[str, dict]:
    """The data splits that a cell's evaluation read, each with the hashes of its files."""
    record = side.records.get(f"evaluations/{cell.id}/manifest.json")
    links = record.manifest["inputs"] if record else {}
    sources = {resolve_input(record, link) for link in links}
    return {
        source: side.records[source].manifest["outputs"]
        for source in sources
        if source in side.records and source.startswith("data/")
    }


def as_text(
    first: str,
    second: str,
    comparison: FolderComparison,
    changes: dict[str, list[str]],
    level: float = 0.05,
    limit: int = 20,
) -> str:
    """The comparison for people.

    `first` and `second` are the folders' names, `changes` is from `changed_conditions`, `level` is
    the level of significance, and `limit` the most lines of each kind.
    """
    lines = [f"A = {first}, B = {second}; differences are B - A", ""]
    lines += _number_lines(comparison.both, level, limit)
    for name, only in (("A", comparison.only_first), ("B", comparison.only_second)):
        if only:
            lines += ["", f"{len(only)} numbers only in {name}, such as {only[0]}"]
    lines += ["", "Done differently, by the records of jobs that both have:"]
    for kind, changed in changes.items():
        lines.append(f"  {kind}: " + ("" if changed else "the same"))
        lines += [f"    {change}" for change in changed[:limit]]
        if len(changed) > limit:
            lines.append(f"    and {len(changed) - limit} more")
    return "\n".join(lines) + "\n"


def _number_lines(numbers: list[NumberComparison], level: float, limit: int) -> list[str]:
    different = sorted((n for n in numbers if n.difference), key=_by_evidence)
    equal, by_chance = len(numbers) - len(different), level * len(numbers)
    clear = sum(n.p < level for n in numbers)
    corrected = sum(n.adjusted < level for n in numbers)
    lines = [
        f"{len(numbers)} numbers in both: {equal} equal, {len(different)} different",
        f"{clear} with p < {level} ({by_chance:.0f} would be by chance alone), "
        f"{corrected} after Holm's correction",
    ]
    if different:
        titles = f"{'A':>9s} {'B':>9s} {'B - A':>9s} {'SE':>8s} {'p':>8s} {'p (Holm)':>8s}"
        lines += ["", f"{'':58s} {titles}  covers"]
    for n in different[:limit]:
        values = f"{n.first:9.4f} {n.second:9.4f} {n.difference:+9.4f} {n.se:8.4f}"
        lines.append(f"{n.name[:58]:58s} {values} {n.p:8.2g} {n.adjusted:8.2g}  {n.covers}")
    if len(different) > limit:
        lines.append(f"and {len(different) - limit} more")
    return lines


def _by_evidence(number: NumberComparison) -> tuple[float, float]:
    """Sort key: the smallest adjusted p first, then the largest difference; NaN last."""
    adjusted = 2.0 if math.isnan(number.adjusted) else number.adjusted
    return adjusted, -abs(number.difference)
