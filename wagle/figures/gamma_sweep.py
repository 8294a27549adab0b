"""Fig. 3 of the paper: efficacy and utility against gamma, relative to GN.

GN is the norm of the retain gradient at the original model, of the same reduction as the scores.
"""

from wagle.experiment import grid
from wagle.experiment.sweeps import METRICS, metric_params

CAPTION = (
    "Fig. 3. Unlearning efficacy and utility against gamma, relative to the norm of the retain "
    "gradient (GN)."
)
SIZE = (11, 4.6)


def cells(config, options):
    return grid.sweep_cells(config, options)


def inputs(config, options):
    draws = [grid.draw_of(config, cell) for cell in cells(config, options) if cell.has_mask]
    folders = sorted({draw.folder("retain") for draw in draws})
    return METRICS | {"gradients": [(folder, "stats.json") for folder in folders]}


def params(config, options):
    return metric_params(config, options, cells(config, options))


def table(files, params):
    """Efficacy and utility by method and gamma, with x = log10(gamma / GN); dense has no gamma.

    `files` hold the retain gradient's norm, one a seed (and a variant of it, where methods differ
    in that); GN is their mean.
    """
    import math

    from wagle.reporting import plots
    from wagle.runtime.files import read_json

    data = plots.summary(files, params, ("gamma",))
    norms = [read_json(path)["norm"] for path in files["gradients"]]
    data["gradient norm"] = mean = sum(norms) / len(norms)
    data["log10(gamma/GN)"] = [
        math.log10(gamma / mean) if gamma == gamma else None for gamma in data["gamma"]
    ]
    columns = ["method", "selection", "gamma", "gradient norm", "log10(gamma/GN)"]
    return data[[*columns, "metric", "mean", "se", "seeds"]].reset_index(drop=True)


def draw(figure, data, params):
    from wagle.reporting import plots
    from wagle.reporting.frames import label

    panels = figure.subplots(1, 2)
    for axes, (metric, ylabel) in zip(panels, plots.metric_labels(params).items(), strict=True):
        rows = data[data["metric"] == metric]
        plots.lines(axes, rows[rows["selection"] != "dense"], "log10(gamma/GN)", "method")
        dense = rows[rows["selection"] == "dense"]
        for (_, row), (colour, _, _) in zip(dense.iterrows(), plots.STYLES, strict=False):
            axes.axhline(
                row["mean"],
                color=colour,
                linestyle=(0, (1, 3)),
                linewidth=2,
                label=f"{label(row['method'])}, dense",
            )
        axes.set(
            xlabel=r"$\log_{10}(\gamma$ / GN$)$, GN: norm of the retain gradient", ylabel=ylabel
        )
    plots.legend_below(figure, panels[0], 4)
    figure.suptitle(f"{label(params['selection'])} masks")
