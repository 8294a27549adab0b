"""Habits of the official code, not in the paper: what each changes of efficacy and utility.

A method with an `official` list is compared with its baseline, a method of the same module without
one. The protocols that are the paper's with a habit of the official evaluation are compared on the
baseline's own cells.

Notable: a seed's cell is compared with the same seed's, so an error bar is that of the difference.
"""

from wagle.experiment import grid
from wagle.experiment.plugins import objective_module
from wagle.experiment.sweeps import METRICS, metric_params

CAPTION = (
    "Habits of the official code (not in the paper). Differences of efficacy and utility from the "
    "same method without any, by seed; mean and standard error."
)
SIZE = (13, 9)
PROTOCOLS = {  # those that differ from the paper's by the evaluation's habits
    "wagle-attack-text": "MIA text without EOS",
    "wagle-ties": "ties in 1-FA are right",
    "wagle-code": "protocol wagle-code",
}


def compared(config, options):
    """(baseline, method, its habits in words) of every method that is shown, baselines first."""
    found = []
    for baseline in options["baselines"]:
        module = objective_module(baseline, config["methods"][baseline])
        found.append((baseline, baseline, "none"))
        for method, own in config["methods"].items():
            if "official" in own and objective_module(method, own) == module:
                found.append((baseline, method, ", ".join(own["official"])))
    return found


def cells(config, options):
    return [
        grid.make_cell(config, method, selection, seed)
        for _, method, _ in compared(config, options)
        for selection in options["selections"]
        for seed in config["seeds"]
    ]


def inputs(config, options):
    return METRICS


def params(config, options):
    about = metric_params(config, options, cells(config, options))
    return about | {"compared": compared(config, options)}


def table(files, params):
    """Differences from the baseline by selection, habit and metric; `largest` is of one seed."""
    import pandas as pd

    from wagle.reporting import plots, tables

    frame = tables.of_cells(tables.read_metrics(files["metrics"][0]), params["cells"])
    frame = frame[frame["metric"].isin(plots.metric_labels(params))]
    keys = ["selection", "metric", "seed"]
    values = {
        group: rows.set_index(keys)["value"]
        for group, rows in frame.groupby(["method", "protocol"], sort=False)
    }
    rows = []
    for baseline, method, habit in params["compared"]:
        pairs = [("official", habit, (method, "wagle"))] * (method != baseline)
        if method == baseline or habit == "all":
            pairs += [
                ("evaluation" if method == baseline else "both", name, (method, protocol))
                for protocol, name in PROTOCOLS.items()
                if (method, protocol) in values and (method == baseline or protocol == "wagle-code")
            ]
        for kind, name, other in pairs:
            both = pd.DataFrame({"base": values[baseline, "wagle"], "other": values[other]})
            both["difference"] = both["other"] - both["base"]
            for (selection, metric), part in both.groupby(["selection", "metric"], sort=False):
                rows.append(
                    {
                        "baseline": baseline,
                        "selection": selection,
                        "kind": kind,
                        "habit": f"all, {name}" if kind == "both" else name,
                        "metric": metric,
                        "base": part["base"].mean(),
                        "difference": part["difference"].mean(),
                        "se": part["difference"].sem() if len(part) > 1 else None,
                        "largest": part["difference"].abs().max(),
                        "seeds": len(part),
                    }
                )
    return pd.DataFrame(rows)


def draw(figure, data, params):
    from wagle.reporting import plots
    from wagle.reporting.frames import label

    metrics = plots.metric_labels(params)
    names = {
        baseline: list(reversed(dict.fromkeys(data.loc[data["baseline"] == baseline, "habit"])))
        for baseline in params["baselines"]
    }
    panels = figure.subplots(
        len(names),
        len(metrics),
        squeeze=False,
        sharex="col",
        gridspec_kw={"height_ratios": [len(habits) + 1 for habits in names.values()]},
    )
    for axes_row, (baseline, habits) in zip(panels, names.items(), strict=True):
        for axes, metric in zip(axes_row, metrics, strict=True):
            axes.axvline(0, color="black", linewidth=1)
            shown = data[(data["baseline"] == baseline) & (data["metric"] == metric)]
            step = 0.5 / len(params["selections"])
            for number, selection in enumerate(params["selections"]):
                rows = shown[shown["selection"] == selection]
                colour, marker, _ = plots.STYLES[number]
                offset = (len(params["selections"]) - 1) / 2 - number
                axes.errorbar(
                    rows["difference"],
                    [habits.index(habit) + step * offset for habit in rows["habit"]],
                    xerr=rows["se"].fillna(0),
                    color=colour,
                    marker=marker,
                    fillstyle="full" if number % 2 == 0 else "none",
                    linestyle="none",
                    capsize=4,
                    markersize=8,
                    label=label(selection),
                )
            for line in range(1, len(habits), 2):
                axes.axhspan(line - 0.5, line + 0.5, color="0.94", zorder=0)
            axes.set_ylim(-0.6, len(habits) - 0.4)
            axes.set_yticks(range(len(habits)), habits if axes is axes_row[0] else [])
            axes.grid(alpha=0.3, axis="x")
            base = ", ".join(
                f"{label(name)} {rows['base'].iloc[0]:.3f}"
                for name, rows in shown.groupby("selection", sort=False)
            )
            axes.set_title(f"{label(baseline)}, {metric} without a habit: {base}", fontsize=12)
    for axes, text in zip(panels[-1], metrics.values(), strict=True):
        axes.set_xlabel(f"Difference of {text}")
    plots.legend_below(figure, panels[0][0], len(params["selections"]))
    seeds = data["seeds"].min()
    figure.suptitle(
        f"Habits of the official code, one at a time and all "
        f"(mean and standard error of n = {seeds} seeds)"
    )
