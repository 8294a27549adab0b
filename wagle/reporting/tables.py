"""The main table: mean and standard error over seeds, as CSV, Markdown, LaTeX (booktabs) and HTML.

Notable: the best average of each method is bold. Standard errors are over seeds, and a value from
one seed has none. Which metrics a table has is its task's to say (`Task.layouts`). Every table has
the share of all weights that a cell updates.

An efficacy beyond the retrained model's is over-unlearning, and is marked where a table has a row
Retrained: beyond by more than two standard errors of the difference. These join the cell's over
seeds and over rows with Retrained's over rows, as independent: too wide rather than too narrow.
A cell whose answers collapsed is marked too, and is never bold (wagle/evaluation/degeneration.py).
Left out: whether two cells differ (wagle/reporting/differences.py).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd

from wagle.errors import WagleError
from wagle.evaluation.cell_values import read
from wagle.evaluation.degeneration import MARGIN, is_collapsed
from wagle.evaluation.names import DEGENERATE
from wagle.experiment.cells import Cell
from wagle.reporting.frames import label

Layout = Mapping[str, Sequence[str]]
KEYS = ["method", "selection", "ratio", "gamma", "seed"]
COLUMNS = ["experiment", "task", *KEYS, "protocol", "metric", "value"]
POINT = "tuned point"
SHARE = "share updated"
EFFICACY = "Unlearning efficacy"  # the group of columns in which over-unlearning is marked
COLLAPSED = (
    f"answers collapsed: the share of them that are empty or repeat themselves lies more than"
    f" {MARGIN:g} above Original's; never bold"
)
BEYOND = "beyond Retrained by more than two standard errors: over-unlearning"


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


def with_rows(frame: pd.DataFrame, paths: Mapping[str, str | Path]) -> pd.DataFrame:
    """`frame` with the column `rows`: each metric's per-row values from its cell's rows.json.

    `paths` maps a cell's id to that file. Blank where a metric has no rows.
    """
    files = {_cell_key([getattr(Cell.parse(name), key) for key in KEYS]): read(Path(path))
             for name, path in paths.items()}  # fmt: skip
    keys = [_cell_key(row) for row in frame[KEYS].itertuples(index=False)]
    names = zip(keys, frame["protocol"], frame["metric"], strict=True)
    rows = [files.get(key, {}).get(protocol, {}).get(name) for key, protocol, name in names]
    return frame.assign(rows=pd.Series(rows, index=frame.index, dtype=object))


def summarise(frame: pd.DataFrame, by: tuple[str, ...] = ()) -> pd.DataFrame:
    """Mean, standard error over seeds (blank for one), numbers of seeds and rows.

    One row per protocol, method, selection, `by` and metric; `se_rows` is the mean of the
    metrics' own standard errors over rows; `share updated` that of the weights.
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
                SHARE: group["share_updated"].mean() if "share_updated" in group else None,
            }
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Entry:
    """One number of a table: mean and standard error over seeds, and how it is printed.

    `bold` is for a best mean, `beyond` for an efficacy beyond the retrained model's, `collapsed`
    for an average of a cell whose answers collapsed.
    """

    mean: float
    se: float | None
    bold: bool = False
    beyond: bool = False
    collapsed: bool = False

    def text(self, style: "Style") -> str:
        number = _number_text(self.mean)
        number = f"{style.bold[0]}{number}{style.bold[1]}" if self.bold else number
        number += style.dagger if self.beyond else ""
        number += style.double_dagger if self.collapsed else ""
        return number if self.se is None else f"{number} {style.plus_minus} {self.se:.3f}"


@dataclass(frozen=True)
class Style:
    """How a format writes errors, the best mean (marks before and after it), over-unlearning and
    collapsed answers."""

    plus_minus: str
    bold: tuple[str, str]
    dagger: str
    double_dagger: str


MARKDOWN = Style("±", ("**", "**"), "†", "‡")
HTML = Style("±", ("<b>", "</b>"), "†", "‡")
LATEX = Style(r"$\pm$", (r"\textbf{", "}"), r"$^\dagger$", r"$^\ddagger$")


def _number_text(value: float) -> str:
    return f"{value:.1e}" if abs(value) < 5e-4 and value != 0 else f"{value:.3f}"


@dataclass(frozen=True)
class Row:
    """A table's row: method, selection, share of updated weights, an entry or None a metric.

    `point` is its tuned point in words; None in a table without tuning.
    """

    method: str
    selection: str
    share: float | None
    entries: dict[str, Entry | None]
    point: str | None = None

    def names(self) -> list[str]:
        return [label(self.method), label(self.selection) if self.selection else ""]

    def texts(self, style: Style) -> list[str]:
        """The point, the share and each metric; nothing for what is not there."""
        share = "" if self.share is None else _number_text(self.share)
        point = [] if self.point is None else [self.point]
        return [*point, share, *(e.text(style) if e else "" for e in self.entries.values())]


def rows_of(
    summary: pd.DataFrame, layout: Layout, best: Sequence[str] = (), lower: Sequence[str] = ()
) -> Iterator[Row]:
    """The table's rows in order of appearance; the best mean of each metric in `best` is bold.

    A cell whose answers collapsed is never the best.
    `lower` are the metrics that are better when they are lower: beyond Retrained is below it.
    """
    beyond = beyond_retrained(summary, layout, lower)
    broken = collapsed(summary)
    averages = summary[summary["metric"].isin(best) & (summary["selection"] != "")]
    names = zip(averages["method"], averages["selection"], strict=True)
    sound = pd.Series([name not in broken for name in names], averages.index, dtype=bool)
    averages = averages[sound]
    top = averages.loc[averages.groupby(["method", "metric"])["mean"].idxmax()]
    bold = set(top[["method", "selection", "metric"]].itertuples(index=False, name=None))
    for (method, selection), group in summary.groupby(["method", "selection"], sort=False):
        values = {}
        for metric, mean, se in zip(group["metric"], group["mean"], group["se"], strict=True):
            key, error = (method, selection, metric), None if pd.isna(se) else se
            marked = (method, selection) in broken and metric in (*best, DEGENERATE)
            values[metric] = Entry(mean, error, key in bold, key in beyond, marked)
        share = group[SHARE].iloc[0] if SHARE in group else None
        entries = {metric: values.get(metric) for metric in metrics_of(layout)}
        point = group[POINT].iloc[0] if POINT in group else None
        point = "" if point is not None and pd.isna(point) else point
        yield Row(method, selection, None if pd.isna(share) else float(share), entries, point)


def beyond_retrained(
    summary: pd.DataFrame, layout: Layout, lower: Sequence[str] = ()
) -> set[tuple[str, str, str]]:
    """(method, selection, metric) of the efficacies that lie beyond the retrained model's."""
    retrained = summary[summary["method"] == "retrained"].set_index("metric")
    marked = set()
    for row in summary[summary["selection"] != ""].to_dict("records"):
        metric = row["metric"]
        if metric not in layout.get(EFFICACY, ()) or metric not in retrained.index:
            continue
        other = retrained.loc[metric]
        errors = [row["se"], row.get("se_rows"), other.get("se_rows")]
        error = math.hypot(*(0.0 if pd.isna(x) else x for x in errors))
        gap = (row["mean"] - other["mean"]) * (-1 if metric in lower else 1)
        if error > 0 and gap > 2 * error:
            marked.add((row["method"], row["selection"], metric))
    return marked


def collapsed(summary: pd.DataFrame) -> set[tuple[str, str]]:
    """(method, selection) of the cells whose answers collapsed, by means over seeds."""
    shares = summary[summary["metric"] == DEGENERATE]
    original = shares.loc[shares["method"] == "original", "mean"]
    if original.empty:
        return set()
    cells = zip(shares["method"], shares["selection"], shares["mean"], strict=True)
    return {(m, s) for m, s, share in cells if s and is_collapsed(share, original.iloc[0])}


def present(summary: pd.DataFrame, layout: Layout, optional: Sequence[str]) -> Layout:
    """`layout` without those `optional` metrics that no cell has, and without empty groups."""
    absent = set(optional) - set(summary["metric"])
    kept = {
        group: [name for name in names if name not in absent] for group, names in layout.items()
    }
    return {group: names for group, names in kept.items() if names}


def _columns(summary: pd.DataFrame, layout: Layout) -> list[str]:
    """The columns after method and selection."""
    return [*([POINT] if POINT in summary else []), SHARE, *metrics_of(layout)]


def metrics_of(layout: Layout) -> list[str]:
    return [metric for group in layout.values() for metric in group]


def wide(summary: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """One row per method and selection; each metric has a mean and a standard-error column."""
    rows = []
    for row in rows_of(summary, layout):
        line = {"method": row.method, "selection": row.selection}
        line |= ({} if row.point is None else {POINT: row.point}) | {SHARE: row.share}
        for metric, entry in row.entries.items():
            line |= {metric: entry and entry.mean, f"{metric} SE": entry and entry.se}
        rows.append(line)
    return pd.DataFrame(rows)


def _notes(rows: Sequence[Row], style: Style) -> list[str]:
    """What the marks of a table mean, one text for each mark that it has."""
    entries = [entry for row in rows for entry in row.entries.values() if entry]
    notes = [f"{style.dagger} {BEYOND}"] * any(entry.beyond for entry in entries)
    return notes + [f"{style.double_dagger} {COLLAPSED}"] * any(e.collapsed for e in entries)


def markdown(
    summary: pd.DataFrame, layout: Layout, best: Sequence[str], lower: Sequence[str] = ()
) -> str:
    """The table in GitHub's Markdown; mean ± standard error over seeds."""
    columns = _columns(summary, layout)
    lines = [
        "| Method | Selection | " + " | ".join(columns) + " |",
        "|---|---|" + "---:|" * len(columns),
    ]
    rows = list(rows_of(summary, layout, best, lower))
    lines += ["| " + " | ".join(row.names() + row.texts(MARKDOWN)) + " |" for row in rows]
    for note in _notes(rows, MARKDOWN):
        lines += ["", f"{note}."]
    return "\n".join(lines) + "\n"


def html(
    summary: pd.DataFrame, layout: Layout, best: Sequence[str], lower: Sequence[str] = ()
) -> str:
    """The table as HTML, with a spanning header for each group of metrics."""
    groups = "".join(
        f'<th scope="colgroup" colspan="{len(group)}">{escape(name)}</th>'
        for name, group in layout.items()
    )
    rows = list(rows_of(summary, layout, best, lower))
    names = ["Method", "Selection", *_columns(summary, layout)]
    before = len(names) - len(metrics_of(layout))
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "".join(
        "<tr>"
        + "".join(f'<th scope="row">{escape(name)}</th>' for name in row.names())
        + "".join(f"<td>{text}</td>" for text in row.texts(HTML))
        + "</tr>"
        for row in rows
    )
    head = f'<tr><th colspan="{before}"></th>{groups}</tr><tr>{heads}</tr>'
    notes = _notes(rows, HTML)
    lines = "".join(f'<tr><td colspan="{len(names)}">{note}</td></tr>' for note in notes)
    foot = f"<tfoot>{lines}</tfoot>" if notes else ""
    return f"<table><thead>{head}</thead><tbody>{body}</tbody>{foot}</table>"


def latex(
    summary: pd.DataFrame, layout: Layout, best: Sequence[str], lower: Sequence[str] = ()
) -> str:
    """The table as a booktabs tabular: a spanning header a group, and a rule between methods."""
    columns = _columns(summary, layout)
    before = 2 + len(columns) - len(metrics_of(layout))
    rules, column = [], before + 1
    for group in layout.values():
        rules.append(rf"\cmidrule(lr){{{column}-{column + len(group) - 1}}}")
        column += len(group)
    header = " & ".join(
        rf"\multicolumn{{{len(group)}}}{{c}}{{{name}}}" for name, group in layout.items()
    )
    lines = [
        "% needs \\usepackage{booktabs}; mean $\\pm$ standard error over seeds",
        r"\begin{tabular}{ll" + "r" * len(columns) + "}",
        r"\toprule",
        "& " * before + rf"{header} \\",
        " ".join(rules),
        "Method & Selection & " + " & ".join(columns) + r" \\",
    ]
    previous = None
    rows = list(rows_of(summary, layout, best, lower))
    for row in rows:
        group = row.method if row.selection else "baseline"
        if group != previous:
            lines.append(r"\midrule")
        previous = group
        lines.append(" & ".join(row.names() + row.texts(LATEX)) + r" \\")
    lines.append(r"\bottomrule")
    span = len(columns) + 2
    lines += [rf"\multicolumn{{{span}}}{{l}}{{{note}}} \\" for note in _notes(rows, LATEX)]
    return "\n".join([*lines, r"\end{tabular}"]) + "\n"
