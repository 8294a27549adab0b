"""Fig. A2b, not in the paper: share of weights selected by layer and by module, by budget rule.

Its numbers also say how far a rule's profile is from the first selection's.
"""

from wagle.experiment import densities

CAPTION = (
    "Fig. A2b (not in the paper). Share of weights selected in each layer and kind of module, by "
    "budget rule. KL: divergence from the first one's profile over tensors, in nats."
)
SIZE = (15, 5.6)


def cells(config, options):
    return []


def inputs(config, options):
    return {"densities": densities.mask_tables(config, options)}


def params(config, options):
    return options


def table(files, params):
    """Density by selection and group, for both groupings, and the selection's divergence."""
    import pandas as pd

    from wagle.reporting import budgets, masks

    names, paths = params["selections"], files["densities"]
    parts = []
    for grouping, group in (("layer", masks.by_layer), ("module", masks.by_module)):
        part = masks.densities(paths, names, group)
        parts.append(part.astype({"group": str}).assign(grouping=grouping))
    profiles = [pd.read_csv(path) for path in paths]
    distances = [budgets.divergence(profile, profiles[0]) for profile in profiles]
    data = pd.concat(parts, ignore_index=True)
    data["KL"] = data["selection"].map(dict(zip(names, distances, strict=True)))
    return data[["grouping", *masks.COLUMNS, "KL"]]


def draw(figure, data, params):
    from wagle.reporting import plots
    from wagle.reporting.frames import label

    panels = figure.subplots(1, 2, width_ratios=[2, 3])
    labels = {"layer": "Layer (0 = first)", "module": "Module"}
    for axes, (grouping, xlabel) in zip(panels, labels.items(), strict=True):
        rows = data[data["grouping"] == grouping]
        groups = list(dict.fromkeys(rows["group"]))
        for name, (colour, marker, line) in zip(
            params["selections"], plots.many_styles(), strict=False
        ):
            own = rows[rows["selection"] == name].set_index("group").reindex(groups)
            axes.plot(
                range(len(groups)),
                own["density"],
                color=colour,
                marker=marker,
                linestyle=line,
                linewidth=2,
                markersize=7,
                label=f"{label(name)} (KL {own['KL'].iloc[0]:.3f})",
            )
        axes.axhline(params["ratio"], color="black", linestyle=":", linewidth=1.5)
        axes.set_xticks(range(len(groups)), groups, fontsize=11)
        axes.set(xlabel=xlabel, ylim=(0, 1.03))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("Share of weights selected")
    plots.legend_below(figure, panels[0], 4)
