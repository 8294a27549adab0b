"""Utility against efficacy of every tuning trial: one panel a method, one line a selection.

A line joins the trials that no other trial of the selection beats in both. Faint points are beaten.
Original and Retrained are the anchors.
"""

CAPTION = (
    "Utility against efficacy of every tuning trial. A line joins the trials of a selection that "
    "no other of its trials beats in both; a ring marks the picked one."
)
SIZE = (11, 6.2)


def cells(config, options):
    return []


def inputs(config, options):
    return {"trials": [("tables/tuning", "trials.csv")]}


def params(config, options):
    rule = config["tuning"]["rule"]
    [(kept, limit)] = rule["subject_to"].items()
    return {"efficacy": rule["maximise"], "utility": kept} | limit | {"baseline": limit["of"]}


def table(files, params):
    """Means over the tuning seeds of every point, and their standard errors.

    Errors are over seeds where there are several, else over rows, as `error` says.
    """
    import pandas as pd

    from wagle.reporting.matched import on_frontier

    trials = pd.read_csv(files["trials"][0]).fillna({"selection": "", "picked": ""})
    metrics = {"efficacy": params["efficacy"], "utility": params["utility"]}
    keys = ["method", "selection", "ratio", "lr"]
    points = []
    for key, runs in trials.groupby(keys, sort=False, dropna=False):
        several = len(runs) > 1
        point = dict(zip(keys, key, strict=True))
        for name, metric in metrics.items():
            point[name] = runs[metric].mean()
            over_seeds = runs[metric].std(ddof=1) / len(runs) ** 0.5
            point[f"{name} SE"] = over_seeds if several else runs[f"{metric} SE"].iloc[0]
        point |= {"error": "seeds" if several else "rows", "seeds": len(runs)}
        points.append(point | {"rows": runs["rows"].min(), "picked": runs["picked"].iloc[0]})
    data = pd.DataFrame(points)
    data["frontier"] = ""
    for _, group in data.groupby(["method", "selection"], sort=False):
        best = on_frontier(group["efficacy"].to_numpy(), group["utility"].to_numpy())
        data.loc[group.index[best], "frontier"] = "yes"
    return data


def draw(figure, data, params):
    from wagle.reporting import plots
    from wagle.reporting.frames import label

    baselines, trials = data[data["selection"] == ""], data[data["selection"] != ""]
    methods = list(dict.fromkeys(trials["method"]))
    panels = figure.subplots(1, len(methods), squeeze=False)[0]
    selections = list(dict.fromkeys(trials["selection"]))
    styles = dict(zip(selections, plots.many_styles(), strict=False))
    for axes, method in zip(panels, methods, strict=True):
        for name in selections:
            points = trials[(trials["method"] == method) & (trials["selection"] == name)]
            _curve(axes, points, label(name.partition("@")[0]), *styles[name])
        for (_, row), marker in zip(baselines.iterrows(), ("*", "P"), strict=False):
            axes.plot(
                row["efficacy"],
                row["utility"],
                marker=marker,
                color="black",
                markersize=15,
                linestyle="none",
                label=label(row["method"]),
            )
        anchor = baselines[baselines["method"] == params["baseline"]]
        if len(anchor):
            least = params["at_least"] * anchor["utility"].iloc[0]
            text = f"{params['at_least']:g} of {label(params['baseline'])}'s {params['utility']}"
            axes.axhline(least, color="black", linestyle=(0, (1, 3)), linewidth=1.5, label=text)
        axes.set(xlabel=f"{params['efficacy']} (unlearning efficacy)", title=label(method))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(f"{params['utility']} (utility)")
    plots.legend_below(figure, panels[0], 5)
    runs, error = int(trials["seeds"].min()), trials["error"].iloc[0]
    figure.suptitle(
        f"Tuning trials: n = {runs} seed{'s' * (runs > 1)}, {trials['rows'].min()} or more rows a "
        f"metric; bars: one standard error over {error}",
        fontsize=12,
    )


def _curve(axes, points, name, colour, marker, line):
    for best, alpha in ((False, 0.35), (True, 1.0)):
        some = points[(points["frontier"] == "yes") == best].sort_values("efficacy")
        axes.errorbar(
            some["efficacy"],
            some["utility"],
            xerr=some["efficacy SE"].fillna(0),
            yerr=some["utility SE"].fillna(0),
            color=colour,
            marker=marker,
            linestyle=line if best else "none",
            linewidth=2,
            elinewidth=0.6,
            markersize=7,
            alpha=alpha,
            label=name if best else None,
        )
    picked = points[points["picked"] == "yes"]
    axes.plot(
        picked["efficacy"],
        picked["utility"],
        marker="o",
        markersize=15,
        markerfacecolor="none",
        markeredgecolor=colour,
        markeredgewidth=1.8,
        linestyle="none",
    )
