"""Fig. A1 of the paper: efficacy and utility against the selection ratio, one line a method."""

from wagle.experiment import grid
from wagle.experiment.sweeps import METRICS, metric_params

CAPTION = "Fig. A1. Unlearning efficacy and utility against the selection ratio."
SIZE = (11, 4.6)


def cells(config, options):
    return grid.sweep_cells(config, options)


def inputs(config, options):
    return METRICS


def params(config, options):
    return metric_params(config, options, cells(config, options))


def table(files, params):
    from wagle.reporting import plots

    return plots.ratio_table(files, params)


def draw(figure, data, params):
    from wagle.reporting import plots
    from wagle.reporting.frames import label

    panels = figure.subplots(1, 2)
    for axes, (metric, ylabel) in zip(panels, plots.metric_labels(params).items(), strict=True):
        plots.lines(axes, data[data["metric"] == metric], "ratio", "method")
        axes.set(xlabel="Selection ratio: share of weights updated", ylabel=ylabel)
    plots.legend_below(figure, panels[0], 4)
    figure.suptitle(f"{label(params['selection'])} masks (ratio 1 = dense)")
