"""Fig. 1 of the paper: efficacy and utility against sparsity, for one method and selection."""

from wagle.experiment import grid
from wagle.experiment.sweeps import METRICS, metric_params

CAPTION = (
    "Fig. 1. Unlearning efficacy and utility against nominal sparsity (Wanda freezes linear "
    "layers only)."
)
SIZE = (7.2, 4.8)


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

    axes = figure.subplots()
    percent = data.assign(sparsity=100 * data["sparsity"])
    plots.lines(axes, percent, "sparsity", "metric", plots.metric_labels(params).get)
    axes.set(
        xlabel="Nominal sparsity: share frozen of the ranked weights (%)",
        ylabel="Score (0 to 1, higher is better)",
    )
    plots.legend_below(figure, axes, 2)
    axes.set_title(
        f"{label(params['method'])} with {label(params['selection'])} masks (0 % = dense)"
    )
