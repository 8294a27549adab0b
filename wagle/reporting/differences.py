"""Does a selection change an average? Each selection of the main table less dense, by the engine.

One row for each method, selection and average: the difference, its 95 % interval over rows and
seeds (wagle/evaluation/statistics.py), and p, after Holm's correction too, over all rows.
Where a cell has UE Avg (KS), it stands below UE Avg: FQ is a p value, which has no rows.
Notable: without a dense run a method has no row. Left out: verdicts (wagle/reporting/claims.py).
"""

import math
from collections.abc import Sequence

import pandas as pd

from wagle.evaluation.cell_values import CellValues, cell_values, difference_of
from wagle.evaluation.names import BY_ROWS
from wagle.evaluation.statistics import holm

BASE = "dense"
COLUMNS = [
    "method",
    "selection",
    "less",
    "metric",
    "difference",
    "se",
    "low",
    "high",
    "p",
    "p (Holm)",
    "seeds",
    "rows",
    "covers",
]


def table(frame: pd.DataFrame, best: Sequence[str]) -> pd.DataFrame:
    """`frame` is one protocol's collected metrics, with the column `rows`; `best` the averages.

    An error that nothing tells is blank, and so are the interval and both p.
    """
    lines = []
    metrics = [name for metric in best for name in (metric, *[BY_ROWS] * (metric == "UE Avg"))]
    for method, own in frame[frame["selection"] != ""].groupby("method", sort=False):
        for metric in metrics:
            of_metric = own[own["metric"] == metric].dropna(subset="value")
            cells = {
                name: _values(rows) for name, rows in of_metric.groupby("selection", sort=False)
            }
            lines += [
                {"method": method, "selection": name, "less": BASE, "metric": metric}
                | _numbers(cell, cells[BASE])
                for name, cell in cells.items()
                if name != BASE and BASE in cells
            ]
    result = pd.DataFrame(lines, columns=[name for name in COLUMNS if name != "p (Holm)"])
    result.insert(COLUMNS.index("p (Holm)"), "p (Holm)", holm(result["p"].tolist()))
    return result


def _values(rows: pd.DataFrame) -> CellValues:
    seeds = rows["seed"].tolist()
    return cell_values(
        dict(zip(seeds, rows["value"], strict=True)), dict(zip(seeds, rows["rows"], strict=True))
    )


def _numbers(first: CellValues, second: CellValues) -> dict:
    gap = difference_of(first, second)
    known = math.isfinite(gap.se)
    numbers = {"se": gap.se, "low": gap.low, "high": gap.high, "p": gap.p}
    return (
        {"difference": gap.value}
        | {name: value if known else math.nan for name, value in numbers.items()}
        | {"seeds": gap.n_seeds, "rows": gap.n_rows, "covers": gap.covers}
    )
