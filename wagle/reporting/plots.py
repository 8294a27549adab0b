"""What figures share: style, lines with error bars, bars, the sweep's numbers, and saving.

Figures come as PDF, SVG and PNG with the same bytes for the same numbers. Colours are Okabe and
Ito's, told apart also by marker and line style. A line is a mean over seeds, an error bar its
standard error. Left out: colour maps, interactive plots.
"""

from pathlib import Path

import pandas as pd

from wagle.reporting import tables
from wagle.reporting.frames import label

STYLES = [
    ("#0072B2", "o", "-"),
    ("#D55E00", "s", "--"),
    ("#009E73", "^", "-."),
    ("#CC79A7", "D", ":"),
    ("#E69F00", "v", "-"),
] * 4
HATCHES = ["", "//", "..", "xx"]
EFFICACY, EFFICACY_LABEL = "UE Avg", "UE Avg (unlearning efficacy)"


def metric_labels(params: dict) -> dict[str, str]:
    """Axis labels of efficacy and of the task's utility."""
    return {EFFICACY: EFFICACY_LABEL, params["utility"]: params["utility_label"]}


def averages(frame: pd.DataFrame, utility: str) -> pd.DataFrame:
    """Rows of efficacy and `utility` under the paper's protocol."""
    is_average = frame["metric"].isin([EFFICACY, utility])
    return frame[is_average & (frame["protocol"] == "wagle")].copy()


def summary(files: dict, params: dict, by: tuple[str, ...] = ()) -> pd.DataFrame:
    """Efficacy and utility of the figure's cells: mean and standard error over seeds."""
    frame = tables.of_cells(tables.read_metrics(files["metrics"][0]), params["cells"])
    return averages(tables.summarise(frame, by), params["utility"])


def ratio_table(files: dict, params: dict) -> pd.DataFrame:
    """Efficacy and utility by method, selection and ratio; dense counts as ratio 1 (sparsity 0)."""
    data = summary(files, params, ("ratio",))
    data.loc[data["selection"] == "dense", "ratio"] = 1.0
    data["sparsity"] = (1 - data["ratio"]).round(12)
    columns = ["method", "selection", "ratio", "sparsity", "metric", "mean", "se", "seeds"]
    return data[columns].reset_index(drop=True)


def lines(axes, data: pd.DataFrame, x: str, by: str, names=label) -> None:
    """One line with error bars for each value of `by`; `names` maps it to the legend's text."""
    for (name, group), (colour, marker, line) in zip(
        data.groupby(by, sort=False), STYLES, strict=False
    ):
        group = group.sort_values(x)
        style = {"color": colour, "marker": marker, "linestyle": line, "linewidth": 2}
        axes.errorbar(
            group[x],
            group["mean"],
            yerr=group["se"].fillna(0),
            label=names(name),
            capsize=4,
            markersize=8,
            **style,
        )
    axes.grid(alpha=0.3)


def legend_below(figure, axes, columns: int) -> None:
    """One legend for the whole figure, with the labels of `axes`."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=columns)


def save(module, data: pd.DataFrame, params: dict, paths: dict[str, Path]) -> None:
    """Draw `data` with a figure's module into `paths` (pdf, svg, png): no dates, no random ids."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    settings = {
        "font.size": 13,
        "svg.hashsalt": "wagle",
        "svg.fonttype": "path",
        "pdf.fonttype": 42,
        "axes.axisbelow": True,
    }
    without_dates = {
        "pdf": {"CreationDate": None, "ModDate": None},
        "svg": {"Date": None},
        "png": {"Software": None},
    }
    with plt.rc_context(settings):
        figure = plt.figure(figsize=module.SIZE, layout="constrained")
        module.draw(figure, data, params)
        for file_format, path in paths.items():
            metadata = without_dates[file_format]
            figure.savefig(path, format=file_format, dpi=200, metadata=metadata)
        plt.close(figure)
