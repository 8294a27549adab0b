"""Fig. 3b, not in the paper: efficacy and utility with estimates of the retain Hessian's diagonal,
beside the sweep over gamma, which is the constant in their place.

The lines are Fig. 3's. The points beside them are estimates, one a selection.
"""

from wagle.experiment import grid
from wagle.experiment.sweeps import metric_params
from wagle.figures import gamma_sweep

CAPTION = (
    "Fig. 3b (not in the paper). Unlearning efficacy and utility with a constant gamma, relative "
    "to the norm of the retain gradient (GN), and with estimates of the retain Hessian's diagonal."
)
SIZE = (15, 6.4)


def cells(config, options):
    seeds = options.get("seeds", config["seeds"])
    estimates = [
        grid.make_cell(config, options["method"], selection, seed)
        for selection in options["selections"]
        for seed in seeds
    ]
    sweep = grid.sweep_cells(config, {k: v for k, v in options.items() if k != "selections"})
    return list(dict.fromkeys(sweep + estimates))


def inputs(config, options):
    return gamma_sweep.inputs(config, options)


def params(config, options):
    return metric_params(config, options, cells(config, options))


def table(files, params):
    """Efficacy and utility by selection and gamma; x = log10(gamma / GN) where there is one."""
    return gamma_sweep.table(files, params)


def draw(figure, data, params):
    from wagle.reporting import plots
    from wagle.reporting.frames import label

    sides = figure.subplots(1, 4, width_ratios=[3, 2, 3, 2])
    names = params["selections"]
    for (sweep, points), (metric, ylabel) in zip(
        (sides[:2], sides[2:]), plots.metric_labels(params).items(), strict=True
    ):
        points.sharey(sweep)
        rows = data[data["metric"] == metric]
        swept = rows[(rows["selection"] == params["selection"]) & rows["gamma"].notna()]
        plots.lines(sweep, swept, "log10(gamma/GN)", "selection")
        dense = rows[rows["selection"] == "dense"]
        for axes in (sweep, points):
            for value in dense["mean"]:
                axes.axhline(value, color="black", linestyle=(0, (1, 3)), label="Dense")
        own = rows[rows["gamma"].isna() | (rows["selection"] != params["selection"])]
        own = own.set_index("selection").reindex(names)
        for place, (name, (colour, marker, _)) in enumerate(
            zip(names, plots.many_styles(), strict=False)
        ):
            points.errorbar(
                place,
                own.loc[name, "mean"],
                yerr=0 if own.loc[name].isna()["se"] else own.loc[name, "se"],
                color=colour,
                marker=marker,
                markersize=9,
                capsize=4,
            )
        points.set_xticks(range(len(names)), [label(n) for n in names], rotation=60, ha="right")
        points.tick_params(labelleft=False)
        points.grid(alpha=0.3)
        sweep.set(xlabel=r"$\log_{10}(\gamma$ / GN$)$", ylabel=ylabel)
    plots.legend_below(figure, sides[0], 2)
    figure.suptitle(f"{label(params['method'])}: a constant, and estimates of the curvature")
