"""Precision, not in the paper: what moves, efficacy and utility, by learning rate and precision.

Its methods are one objective with other precisions and learning rates.
"""

from wagle.experiment import grid
from wagle.experiment.plugins import objective_module
from wagle.experiment.settings import settings_of
from wagle.experiment.sweeps import METRICS, metric_params

CAPTION = (
    "Precision (not in the paper). Share of selected weights that moved, efficacy and utility, "
    "by learning rate."
)
SIZE = (15, 5.2)
MOVED, MOVED_LABEL = "share moved", "Share of selected weights that moved"


def cells(config, options):
    return [
        grid.make_cell(config, method, selection, seed)
        for method in options["methods"]
        for selection in options["selections"]
        for seed in config["seeds"]
    ]


def inputs(config, options):
    runs = [(f"unlearned/{cell.id}", "moved.json") for cell in cells(config, options)]
    return METRICS | {"moved": runs}


def params(config, options):
    first, training = options["selections"][0], {}
    for name in options["methods"]:
        chosen = settings_of(config, name, first).training
        training[name] = {
            "objective": objective_module(name, config["methods"][name]).rpartition(".")[2],
            "precision": chosen["precision"],
            "lr": chosen["lr"],
        }
    return metric_params(config, options, cells(config, options)) | {"training": training}


def table(files, params):
    """Each metric by objective, precision, learning rate and selection."""
    import pandas as pd

    from wagle.experiment.cells import Cell
    from wagle.reporting import plots
    from wagle.runtime.files import read_json

    runs = [
        (Cell.parse(cell), read_json(path)["share_moved"])
        for cell, path in zip(params["cells"], files["moved"], strict=True)
    ]
    moved = pd.DataFrame(
        [{"method": c.method, "selection": c.selection, "share": share} for c, share in runs]
    )
    moved = moved.groupby(["method", "selection"], sort=False)["share"]
    moved = moved.agg(["mean", "sem", "count"]).reset_index()
    moved = moved.rename(columns={"sem": "se", "count": "seeds"}).assign(metric=MOVED)
    columns = ["method", "selection", "metric", "mean", "se", "seeds"]
    data = pd.concat([moved[columns], plots.summary(files, params)[columns]], ignore_index=True)
    for key in ("objective", "precision", "lr"):
        data[key] = [params["training"][method][key] for method in data["method"]]
    return data[["objective", "precision", "lr", *columns]]


def draw(figure, data, params):
    from wagle.reporting import plots
    from wagle.reporting.frames import label

    panels = figure.subplots(1, 3)
    lines, fills = ("-", "--", ":", "-.") * 2, ("full", "none", "left", "top") * 2
    precisions = list(zip(dict.fromkeys(data["precision"]), lines, fills, strict=False))
    metrics = {MOVED: MOVED_LABEL} | plots.metric_labels(params)
    for axes, (metric, ylabel) in zip(panels, metrics.items(), strict=True):
        for selection, (colour, marker, _) in zip(params["selections"], plots.STYLES, strict=False):
            for precision, line, fill in precisions:
                rows = data[
                    (data["metric"] == metric)
                    & (data["selection"] == selection)
                    & (data["precision"] == precision)
                ].sort_values("lr")
                axes.errorbar(
                    rows["lr"],
                    rows["mean"],
                    yerr=rows["se"].fillna(0),
                    color=colour,
                    marker=marker,
                    linestyle=line,
                    fillstyle=fill,
                    capsize=4,
                    markersize=8,
                    linewidth=2,
                    label=f"{label(selection)}, {precision}",
                )
        axes.set(xscale="log", xlabel="Learning rate", ylabel=ylabel)
        axes.grid(alpha=0.3)
    panels[0].set_ylim(-0.03, 1.03)
    plots.legend_below(figure, panels[0], 3)
    objectives = ", ".join(map(label, dict.fromkeys(data["objective"])))
    figure.suptitle(f"Weights and moments in fp32 or in bf16 ({objectives})")
