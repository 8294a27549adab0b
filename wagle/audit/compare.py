"""Which numbers of two results folders differ, and by more than chance?

Numbers are compared cell by cell (method, selection, ratio, gamma), protocol and metric, over
their seeds. Where both folders hold per-row values of the same rows, the test is paired over rows
(wagle/evaluation/statistics.py). Elsewhere it is a normal test with both standard errors. A table
has many cells, so p is also given after Holm's correction over all comparisons made.

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
from wagle.evaluation.statistics import Paired, paired
from wagle.experiment.cells import Cell
from wagle.runtime.files import LARGE_LIMIT, read_json


@dataclass(frozen=True)
class NumberComparison:
    """One number in both folders.

    `first` and `second` are means over seeds, `difference` is second - first, and `se` its standard
    error. `p` is two-sided, `adjusted` is p after Holm's correction, and `test` says which test it
    was.
    """

    name: str
    first: float
    second: float
    difference: float
    se: float
    p: float
    adjusted: float
    test: str


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
    means = [_mean(side.numbers[key], "value") for side in (first, second)]
    over_rows = _paired_over_rows(key, first, second)
    if over_rows is not None:
        difference, se, p = over_rows.difference, over_rows.se, over_rows.p
        test = f"paired over {over_rows.rows} rows"
    else:
        difference = means[1] - means[0]
        se = math.hypot(*(_mean(side.numbers[key], "se") for side in (first, second)))
        p = _normal_p(difference, se)
        test = "equal" if difference == 0 else "by standard errors"
    return NumberComparison(key.label, *means, difference, se, p, math.nan, test)


def _mean(rows: list[dict], column: str) -> float:
    """Mean of a column over seeds; NaN where a row has no number there."""
    return math.fsum(_number(row.get(column) or "nan") for row in rows) / len(rows)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _normal_p(difference: float, se: float) -> float:
    """Two-sided p of a normal test; NaN where there is no standard error."""
    from scipy import stats

    if difference == 0:
        return 1.0
    if se > 0:
        return float(2 * stats.norm.sf(abs(difference) / se))
    return math.nan if math.isnan(se) else 0.0


def _paired_over_rows(key: NumberKey, first: _Side, second: _Side) -> Paired | None:
    """The paired test over rows; None where the two folders do not hold values of the same rows."""
    values = [
        [_row_values(side.root, row) for row in side.numbers[key]] for side in (first, second)
    ]
    if any(seed is None for seeds in values for seed in seeds):
        return None
    splits = [_evaluated_splits(side, cell_of(side.numbers[key][0])) for side in (first, second)]
    if not splits[0] or splits[0] != splits[1]:
        return None
    try:
        return paired(*values)
    except (WagleError, ValueError, TypeError):
        return None  # fewer than two rows, rows of different lengths, or NaN


def _row_values(root: Path, row: dict) -> list[float] | None:
    """Per-row values of one number and seed; None where the metric has none."""
    path = root / "metrics" / cell_of(row).id / "rows.json"
    protocols = read_json(path, limit=LARGE_LIMIT, strict=False) if path.is_file() else {}
    metrics = protocols.get(row["protocol"], {}) if isinstance(protocols, dict) else {}
    return metrics.get(row["metric"]) if isinstance(metrics, dict) else None


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


def holm(values: list[float]) -> list[float]:
    """Holm's step-down adjustment of p values; NaN stays NaN and counts as no comparison."""
    order = sorted((i for i, p in enumerate(values) if not math.isnan(p)), key=lambda i: values[i])
    adjusted, largest = [math.nan] * len(values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * values[i]))
        adjusted[i] = largest
    return adjusted


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
        lines += ["", f"{'':58s} {titles}  test"]
    for n in different[:limit]:
        values = f"{n.first:9.4f} {n.second:9.4f} {n.difference:+9.4f} {n.se:8.4f}"
        lines.append(f"{n.name[:58]:58s} {values} {n.p:8.2g} {n.adjusted:8.2g}  {n.test}")
    if len(different) > limit:
        lines.append(f"and {len(different) - limit} more")
    return lines


def _by_evidence(number: NumberComparison) -> tuple[float, float]:
    """Sort key: the smallest adjusted p first, then the largest difference; NaN last."""
    adjusted = 2.0 if math.isnan(number.adjusted) else number.adjusted
    return adjusted, -abs(number.difference)
