"""Which methods unlearn: efficacy and utility of each, less the model's before unlearning.

The model before unlearning, Original, is one and the same for all seeds. So each seed's cell is
compared with it row by row, and the interval covers rows and seeds (docs/statistics.md). A method
unlearns if the whole interval of its efficacy lies above 0.

Notable: not in the paper. Efficacy is one metric of rows; the task's averages join others.
"""

from wagle.experiment import grid
from wagle.experiment.sweeps import METRICS, metric_params

CAPTION = (
    "Methods compared (not in the paper). Efficacy and utility less those of the model before "
    "unlearning, with 95 % intervals over rows and seeds."
)
SIZE = (12, 9)
LEVEL = 0.95
BEFORE = "original"


def cells(config, options):
    return [
        cell for cell in grid.table_cells(config) if cell.selection in ("", *options["selections"])
    ]


def inputs(config, options):
    files = [(f"metrics/{cell.id}", "rows.json") for cell in cells(config, options)]
    return METRICS | {"rows": files}


def params(config, options):
    return metric_params(config, options, cells(config, options))


def table(files, params):
    """One line for each method, selection and metric: its mean, and the difference from Original.

    `unlearns` is said of efficacy alone; `change` says on which side of 0 the interval lies.
    """
    import pandas as pd

    from wagle.evaluation import cell_values
    from wagle.experiment.cells import Cell
    from wagle.reporting import tables

    frame = tables.read_metrics(files["metrics"][0])
    values = {
        (cell, metric): group["value"].iloc[0]
        for cell in params["cells"]
        for metric, group in _paper_rows(tables.of_cells(frame, [cell])).groupby("metric")
    }
    rows = dict(zip(params["cells"], map(cell_values.read, files["rows"]), strict=True))
    groups = {}
    for name in params["cells"]:
        cell = Cell.parse(name)
        groups.setdefault((cell.method, cell.selection), {})[cell.seed] = name
    lines = []
    for (method, selection), names in groups.items():
        if not selection:
            continue
        for metric in (params["metric"], params["utility"]):
            each = {seed: _rows_of(rows[name], metric) for seed, name in names.items()}
            cell = cell_values.cell_values(
                {seed: values[name, metric] for seed, name in names.items()}, each
            )
            before = cell_values.cell_values(
                dict.fromkeys(names, values[BEFORE, metric]),
                dict.fromkeys(names, _rows_of(rows[BEFORE], metric)),
            )
            gap = cell_values.difference_of(cell, before, LEVEL)
            change = "higher" if gap.low > 0 else "lower" if gap.high < 0 else "no difference"
            unlearns = "yes" if change == "higher" else "no"
            lines.append(
                {
                    "method": method,
                    "selection": selection,
                    "metric": metric,
                    "value": float(cell.totals().mean()),
                    "original": float(values[BEFORE, metric]),
                    "difference": gap.value,
                    "low": gap.low,
                    "high": gap.high,
                    "change": change,
                    "unlearns": unlearns if metric == params["metric"] else "",
                    "seeds": gap.n_seeds,
                    "rows": gap.n_rows,
                    "covers": gap.covers,
                }
            )
    return pd.DataFrame(lines)


def _paper_rows(frame):
    return frame[frame["protocol"] == "wagle"]


def _rows_of(content: dict, metric: str):
    return content.get("wagle", {}).get(metric)


def draw(figure, data, params):
    from wagle.reporting import plots
    from wagle.reporting.frames import label

    metrics = {params["metric"]: params["metric"], params["utility"]: params["utility_label"]}
    methods = list(reversed(dict.fromkeys(data["method"])))
    panels = figure.subplots(1, len(metrics), sharey=True)
    step = 0.5 / len(params["selections"])
    for axes, (metric, text) in zip(panels, metrics.items(), strict=True):
        axes.axvline(0, color="black", linewidth=1)
        for line in range(1, len(methods), 2):
            axes.axhspan(line - 0.5, line + 0.5, color="0.94", zorder=0)
        shown = data[data["metric"] == metric]
        for number, selection in enumerate(params["selections"]):
            some = shown[shown["selection"] == selection]
            colour, marker, _ = plots.STYLES[number]
            offset = (len(params["selections"]) - 1) / 2 - number
            axes.errorbar(
                some["difference"],
                [methods.index(method) + step * offset for method in some["method"]],
                xerr=[some["difference"] - some["low"], some["high"] - some["difference"]],
                color=colour,
                marker=marker,
                linestyle="none",
                capsize=4,
                markersize=8,
                label=label(selection),
            )
        axes.set_ylim(-0.6, len(methods) - 0.4)
        axes.grid(alpha=0.3, axis="x")
        axes.set_xlabel(f"{text}\nless Original's {shown['original'].iloc[0]:.3f}")
    panels[0].set_yticks(range(len(methods)), [label(method) for method in methods])
    plots.legend_below(figure, panels[0], len(params["selections"]))
    figure.suptitle(
        f"What each method changes: 95 % intervals over rows and n = {data['seeds'].min()} seeds"
    )
