"""Tables from the long metrics file: mean and standard error over seeds, as CSV, Markdown and LaTeX (booktabs).

Notable: the best average of each method is bold; standard errors are over seeds, and a value from one seed has none.
"""

import math
from pathlib import Path

import pandas as pd

from wagle.errors import WagleError
from wagle.evaluation import suites
from wagle.evaluation.protocols import EFFICACY, UTILITY
from wagle.experiment.cells import Cell
from wagle.reporting.frames import label

COLUMNS = [
    "experiment",
    "task",
    "method",
    "selection",
    "ratio",
    "gamma",
    "seed",
    "protocol",
    "metric",
    "value",
]
PAPER = {"Unlearning efficacy": [*EFFICACY, "UE Avg"], "Utility": [*UTILITY, "UT Avg"]}
TOFU = {
    "Forgetting": ["forget quality", "forget truth ratio", "forget probability", "forget Rouge-L"],
    "Memorization": ["exact memorization", "extraction strength"],
    "Utility": ["retain probability", "retain Rouge-L", "retain truth ratio", "model utility"],
}
MEMBERSHIP = {
    "Membership": ["MIA loss", "MIA zlib", "MIA min-k", "MIA min-k++", "privleak"]
}  # needs a holdout split
LAYOUTS = {"wagle": PAPER, "wagle-code": PAPER, "tofu": TOFU, "open-unlearning": TOFU | MEMBERSHIP}
BOLD = ("UE Avg", "UT Avg", "model utility", "MMLU", "zero-shot Acc")


def layout(task: str, protocol: str) -> dict[str, list[str]]:
    """Groups of metrics of a task's main table."""
    return LAYOUTS[protocol] if task == "tofu" else suites.LAYOUTS[task]


def read_metrics(path: str | Path) -> pd.DataFrame:
    """The long metrics table. Raises WagleError when a column is missing."""
    frame = pd.read_csv(path, dtype={"selection": "string", "seed": "Int64"})
    missing = [column for column in COLUMNS if column not in frame]
    if missing:
        raise WagleError(f"{path} lacks the columns {', '.join(missing)}")
    return frame.assign(selection=frame["selection"].fillna(""))


def of_cells(frame: pd.DataFrame, cells: list[str]) -> pd.DataFrame:
    """The rows of `cells` (ids), in the order of that list. Raises WagleError for a cell without rows."""
    keys = ["method", "selection", "ratio", "gamma", "seed"]
    rank = {
        tuple(getattr(Cell.parse(name), key) for key in keys): i for i, name in enumerate(cells)
    }
    found = [rank.get(tuple(None if pd.isna(v) or (v == "" and k != "selection") else v for k, v in zip(keys, row, strict=True)))
             for row in frame[keys].itertuples(index=False)]  # fmt: skip
    chosen = frame.assign(_rank=found).dropna(subset="_rank")
    missing = set(range(len(cells))) - set(chosen["_rank"].astype(int))
    if missing:
        raise WagleError(f"no metrics of {cells[min(missing)]}", do="re-run rule collect")
    return chosen.sort_values("_rank", kind="stable").drop(columns="_rank")


def summarise(frame: pd.DataFrame, by: tuple[str, ...] = ()) -> pd.DataFrame:
    """Mean, standard error over seeds (blank for one), numbers of seeds and rows, per method, selection, `by` and metric."""
    keys = ["protocol", "method", "selection", *by, "metric"]
    rows = []
    for key, group in frame.groupby(keys, sort=False, dropna=False):
        values = group["value"]
        se = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else None
        within = group["se"].mean() if "se" in group else None
        about = dict(zip(keys, key, strict=True))
        rows.append(
            about
            | {
                "mean": values.mean(),
                "se": se,
                "seeds": len(values),
                "n": group["n"].min(),
                "se_rows": within,
            }
        )
    return pd.DataFrame(rows)


def _cells(summary: pd.DataFrame, layout: dict):
    """(method, selection, {metric: (mean, se)}) in order of appearance."""
    metrics = [metric for group in layout.values() for metric in group]
    for (method, selection), group in summary.groupby(["method", "selection"], sort=False):
        found = {
            row.metric: (row.mean_, row.se)
            for row in group.rename(columns={"mean": "mean_"}).itertuples()
        }
        yield method, selection, {metric: found.get(metric) for metric in metrics}


def wide(summary: pd.DataFrame, layout: dict) -> pd.DataFrame:
    """One row per method and selection; each metric has a mean and a standard-error column."""
    rows = []
    for method, selection, values in _cells(summary, layout):
        row = {"method": method, "selection": selection}
        for metric, value in values.items():
            row |= {metric: value and value[0], f"{metric} SE": value and value[1]}
        rows.append(row)
    return pd.DataFrame(rows)


def _best(summary: pd.DataFrame) -> set:
    """(method, selection, metric) of the best mean of each bold metric within each method that has several selections."""
    averages = summary[summary["metric"].isin(BOLD) & (summary["selection"] != "")]
    best = (
        averages.loc[averages.groupby(["method", "metric"])["mean"].idxmax()]
        if len(averages)
        else averages
    )
    return set(best[["method", "selection", "metric"]].itertuples(index=False, name=None))


def _number(value, bold: bool, plus_minus: str, strong: tuple[str, str]) -> str:
    if value is None:
        return ""
    mean, se = value
    text = f"{mean:.3f}" if abs(mean) >= 5e-4 or mean == 0 else f"{mean:.1e}"
    text = f"{strong[0]}{text}{strong[1]}" if bold else text
    return text if se is None or pd.isna(se) else f"{text} {plus_minus} {se:.3f}"


def markdown(summary: pd.DataFrame, layout: dict) -> str:
    """The table in GitHub's Markdown; mean ± standard error over seeds, best average of a method in bold."""
    metrics, best = [metric for group in layout.values() for metric in group], _best(summary)
    lines = [
        "| Method | Selection | " + " | ".join(metrics) + " |",
        "|---|---|" + "---:|" * len(metrics),
    ]
    for method, selection, values in _cells(summary, layout):
        cells = [
            _number(v, (method, selection, m) in best, "±", ("**", "**")) for m, v in values.items()
        ]
        lines.append(
            f"| {label(method)} | {label(selection) if selection else ''} | "
            + " | ".join(cells)
            + " |"
        )
    return "\n".join(lines) + "\n"


def latex(summary: pd.DataFrame, layout: dict) -> str:
    """The table as a booktabs tabular, with a spanning header for each group of metrics and a rule between methods."""
    metrics, best = [metric for group in layout.values() for metric in group], _best(summary)
    spans, column = [], 3
    for group in layout.values():
        spans.append(rf"\cmidrule(lr){{{column}-{column + len(group) - 1}}}")
        column += len(group)
    header = " & ".join(
        rf"\multicolumn{{{len(group)}}}{{c}}{{{name}}}" for name, group in layout.items()
    )
    lines = [
        "% needs \\usepackage{booktabs}; mean $\\pm$ standard error over seeds",
        r"\begin{tabular}{ll" + "r" * len(metrics) + "}",
        r"\toprule",
        rf"& & {header} \\",
        " ".join(spans),
        "Method & Selection & " + " & ".join(metrics) + r" \\",
    ]
    previous = None
    for method, selection, values in _cells(summary, layout):
        group = "baseline" if not selection else method
        if group != previous:
            lines.append(r"\midrule")
        previous = group
        cells = [
            _number(v, (method, selection, m) in best, r"$\pm$", (r"\textbf{", "}"))
            for m, v in values.items()
        ]
        lines.append(
            f"{label(method)} & {label(selection) if selection else ''} & "
            + " & ".join(cells)
            + r" \\"
        )
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"
