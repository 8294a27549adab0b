"""The main table: mean and standard error over seeds, as CSV, Markdown, LaTeX (booktabs) and HTML.

Notable: the best average of each method is bold. Standard errors are over seeds, and a value from
one seed has none. Which metrics a table has is its task's to say (`Task.layouts`).
"""

import html as escape
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from wagle.errors import WagleError
from wagle.experiment.cells import Cell
from wagle.reporting.frames import label

Layout = Mapping[str, Sequence[str]]
KEYS = ["method", "selection", "ratio", "gamma", "seed"]
COLUMNS = ["experiment", "task", *KEYS, "protocol", "metric", "value"]


def read_metrics(path: str | Path) -> pd.DataFrame:
    """The long metrics table. Raises WagleError when a column is missing."""
    frame = pd.read_csv(path, dtype={"selection": "string", "seed": "Int64"})
    missing = [column for column in COLUMNS if column not in frame]
    if missing:
        raise WagleError(f"{path} lacks the columns {', '.join(missing)}")
    return frame.assign(selection=frame["selection"].fillna(""))


def _cell_key(row: Sequence) -> tuple:
    """A row's cell: blanks are None, but for the selection, which baselines leave empty."""
    return tuple(
        None if pd.isna(value) or (value == "" and key != "selection") else value
        for key, value in zip(KEYS, row, strict=True)
    )


def of_cells(frame: pd.DataFrame, cells: list[str]) -> pd.DataFrame:
    """The rows of `cells` (ids), in the order of that list.

    Raises WagleError for a cell without rows.
    """
    parsed = map(Cell.parse, cells)
    rank = {tuple(getattr(cell, key) for key in KEYS): i for i, cell in enumerate(parsed)}
    order = [rank.get(_cell_key(row)) for row in frame[KEYS].itertuples(index=False)]
    rows = frame.assign(order=order).dropna(subset="order")
    missing = set(range(len(cells))) - set(rows["order"].astype(int))
    if missing:
        raise WagleError(f"no metrics of {cells[min(missing)]}", do="re-run rule collect")
    return rows.sort_values("order", kind="stable").drop(columns="order")


def summarise(frame: pd.DataFrame, by: tuple[str, ...] = ()) -> pd.DataFrame:
    """Mean, standard error over seeds (blank for one), numbers of seeds and rows.

    One row per protocol, method, selection, `by` and metric; `se_rows` is the mean of the
    metrics' own standard errors over rows.
    """
    keys = ["protocol", "method", "selection", *by, "metric"]
    rows = []
    for key, group in frame.groupby(keys, sort=False, dropna=False):
        values = group["value"]
        rows.append(
            dict(zip(keys, key, strict=True))
            | {
                "mean": values.mean(),
                "se": values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else None,
                "seeds": len(values),
                "n": group["n"].min(),
                "se_rows": group["se"].mean() if "se" in group else None,
            }
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Entry:
    """One number of a table: mean, standard error over seeds, and whether it is printed bold."""

    mean: float
    se: float | None
    bold: bool = False

    def text(self, plus_minus: str, bold: tuple[str, str]) -> str:
        """The number with its error; `bold` are the marks before and after a best mean."""
        tiny = abs(self.mean) < 5e-4 and self.mean != 0
        number = f"{self.mean:.1e}" if tiny else f"{self.mean:.3f}"
        number = f"{bold[0]}{number}{bold[1]}" if self.bold else number
        return number if self.se is None else f"{number} {plus_minus} {self.se:.3f}"


@dataclass(frozen=True)
class Row:
    """A table's row: one method and selection, and an entry (or None) for each metric.

    `point` is its tuned point in words; None in a table without tuning.
    """

    method: str
    selection: str
    entries: dict[str, Entry | None]
    point: str | None = None

    def names(self) -> list[str]:
        names = [label(self.method), label(self.selection) if self.selection else ""]
        return names if self.point is None else [*names, self.point]

    def texts(self, plus_minus: str, bold: tuple[str, str]) -> list[str]:
        return [e.text(plus_minus, bold) if e else "" for e in self.entries.values()]


def rows_of(summary: pd.DataFrame, layout: Layout, best: Sequence[str] = ()) -> Iterator[Row]:
    """The table's rows in order of appearance; the best mean of each metric in `best` is bold."""
    averages = summary[summary["metric"].isin(best) & (summary["selection"] != "")]
    top = averages.loc[averages.groupby(["method", "metric"])["mean"].idxmax()]
    bold = set(top[["method", "selection", "metric"]].itertuples(index=False, name=None))
    for (method, selection), group in summary.groupby(["method", "selection"], sort=False):
        values = {}
        for metric, mean, se in zip(group["metric"], group["mean"], group["se"], strict=True):
            error = None if pd.isna(se) else se
            values[metric] = Entry(mean, error, (method, selection, metric) in bold)
        entries = {metric: values.get(metric) for metric in metrics_of(layout)}
        point = group["point"].fillna("").iloc[0] if "point" in group else None
        yield Row(method, selection, entries, point)


def headings(summary: pd.DataFrame) -> list[str]:
    """Headings of the columns before the metrics."""
    return ["Method", "Selection", *(["Tuned point"] if "point" in summary else [])]


def metrics_of(layout: Layout) -> list[str]:
    return [metric for group in layout.values() for metric in group]


def wide(summary: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """One row per method and selection; each metric has a mean and a standard-error column."""
    rows = []
    for row in rows_of(summary, layout):
        line = {"method": row.method, "selection": row.selection}
        line |= {} if row.point is None else {"point": row.point}
        for metric, entry in row.entries.items():
            line |= {metric: entry and entry.mean, f"{metric} SE": entry and entry.se}
        rows.append(line)
    return pd.DataFrame(rows)


def markdown(summary: pd.DataFrame, layout: Layout, best: Sequence[str]) -> str:
    """The table in GitHub's Markdown; mean ± standard error over seeds."""
    metrics = metrics_of(layout)
    names = headings(summary)
    lines = [
        "| " + " | ".join([*names, *metrics]) + " |",
        "|" + "---|" * len(names) + "---:|" * len(metrics),
    ]
    for row in rows_of(summary, layout, best):
        cells = row.names() + row.texts("±", ("**", "**"))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def html(summary: pd.DataFrame, layout: Layout, best: Sequence[str]) -> str:
    """The table as HTML, with a spanning header for each group of metrics."""
    groups = "".join(
        f'<th scope="colgroup" colspan="{len(group)}">{escape.escape(name)}</th>'
        for name, group in layout.items()
    )
    names = [*headings(summary), *metrics_of(layout)]
    heads = "".join(f'<th scope="col">{escape.escape(name)}</th>' for name in names)
    body = "".join(
        "<tr>"
        + "".join(f'<th scope="row">{escape.escape(name)}</th>' for name in row.names())
        + "".join(f"<td>{text}</td>" for text in row.texts("±", ("<b>", "</b>")))
        + "</tr>"
        for row in rows_of(summary, layout, best)
    )
    head = f'<tr><th colspan="{len(headings(summary))}"></th>{groups}</tr><tr>{heads}</tr>'
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def latex(summary: pd.DataFrame, layout: Layout, best: Sequence[str]) -> str:
    """The table as a booktabs tabular: a spanning header a group, and a rule between methods."""
    metrics = metrics_of(layout)
    names = headings(summary)
    rules, column = [], len(names) + 1
    for group in layout.values():
        rules.append(rf"\cmidrule(lr){{{column}-{column + len(group) - 1}}}")
        column += len(group)
    header = " & ".join(
        rf"\multicolumn{{{len(group)}}}{{c}}{{{name}}}" for name, group in layout.items()
    )
    lines = [
        "% needs \\usepackage{booktabs}; mean $\\pm$ standard error over seeds",
        r"\begin{tabular}{" + "l" * len(names) + "r" * len(metrics) + "}",
        r"\toprule",
        "& " * len(names) + rf"{header} \\",
        " ".join(rules),
        " & ".join([*names, *metrics]) + r" \\",
    ]
    previous = None
    for row in rows_of(summary, layout, best):
        group = row.method if row.selection else "baseline"
        if group != previous:
            lines.append(r"\midrule")
        previous = group
        cells = row.names() + row.texts(r"$\pm$", (r"\textbf{", "}"))
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"
