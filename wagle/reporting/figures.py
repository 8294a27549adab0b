"""The paper's figures: drawn from small tables, saved as PDF, SVG and PNG with the same bytes for the same numbers.

Colours are Okabe and Ito's, told apart also by marker and line style; a line is a mean over seeds, a bar its standard
error. Left out: colour maps, interactive plots.
"""

import math
import re
from pathlib import Path

import pandas as pd

from wagle.errors import WagleError
from wagle.model.families import MODULES, module_of
from wagle.reporting.frames import label

STYLES = [
    ("#0072B2", "o", "-"),
    ("#D55E00", "s", "--"),
    ("#009E73", "^", "-."),
    ("#CC79A7", "D", ":"),
    ("#E69F00", "v", "-"),
]
HATCHES = ["", "//", "..", "xx"]
EFFICACY = "UE Avg"
LONG = {"UE Avg": "UE Avg (unlearning efficacy)", "UT Avg": "UT Avg (utility)", "MMLU": "MMLU accuracy (utility)",
        "zero-shot Acc": "Zero-shot accuracy (utility)", "share moved": "Share of selected weights that moved"}  # fmt: skip


def densities(tables: dict[str, pd.DataFrame], by: str) -> pd.DataFrame:
    """Share of selected weights per selection and group: `density_module` or `density_layer`; columns selection, group, ..."""
    frames = []
    for selection, table in tables.items():
        if by == "density_module":
            group = [module_of(name) for name in table["parameter"]]
        elif by == "density_layer":
            found = [re.search(r"\.(\d+)\.", name) for name in table["parameter"]]
            group = [int(match.group(1)) if match else None for match in found]
        else:
            raise WagleError(f"density figure {by!r}", "density_module or density_layer")
        sums = (
            table.assign(group=group)
            .dropna(subset="group")
            .groupby("group", sort=False)[["selected", "size"]]
            .sum()
        )
        frames.append(
            sums.assign(density=sums["selected"] / sums["size"], selection=selection).reset_index()
        )
    data = pd.concat(frames, ignore_index=True)
    if by == "density_layer":
        return (
            data.astype({"group": int})
            .sort_values(["selection", "group"], kind="stable")[_DENSITY]
            .reset_index(drop=True)
        )
    order = {text: i for i, text in enumerate([*MODULES.values(), "other"])}
    return (
        data.assign(_o=data["group"].map(order))
        .sort_values(["selection", "_o"], kind="stable")[_DENSITY]
        .reset_index(drop=True)
    )


_DENSITY = ["selection", "group", "selected", "size", "density"]


def sweep(summary: pd.DataFrame, utility: str) -> pd.DataFrame:
    """Efficacy and `utility` by method, selection and ratio; dense models count as ratio 1 (sparsity 0)."""
    data = summary[
        summary["metric"].isin([EFFICACY, utility]) & (summary["protocol"] == "wagle")
    ].copy()
    data.loc[data["selection"] == "dense", "ratio"] = 1.0
    data["sparsity"] = (1 - data["ratio"]).round(12)
    return data[
        ["method", "selection", "ratio", "sparsity", "metric", "mean", "se", "seeds"]
    ].reset_index(drop=True)


def gammas(summary: pd.DataFrame, norms: list[float], utility: str) -> pd.DataFrame:
    """Efficacy and `utility` by method and gamma, with x = log10(gamma / GN); dense models have no gamma.

    `norms` are the retain gradient's norms, one a seed, of the same reduction as the scores were made with; GN is their mean.
    """
    data = summary[
        summary["metric"].isin([EFFICACY, utility]) & (summary["protocol"] == "wagle")
    ].copy()
    mean = sum(norms) / len(norms)
    data["gradient norm"] = mean
    data["log10(gamma/GN)"] = [
        math.log10(gamma / mean) if gamma == gamma else None for gamma in data["gamma"]
    ]
    columns = [
        "method",
        "selection",
        "gamma",
        "gradient norm",
        "log10(gamma/GN)",
        "metric",
        "mean",
        "se",
        "seeds",
    ]
    return data[columns].reset_index(drop=True)


def precisions(
    summary: pd.DataFrame, moved: pd.DataFrame, methods: dict[str, dict], utility: str
) -> pd.DataFrame:
    """Efficacy, `utility` and the share of selected weights that moved, by objective, precision, learning rate, selection.

    `moved` has method, selection, seed, share; `methods` maps each method to its objective, precision and lr.
    """
    data = summary[summary["metric"].isin([EFFICACY, utility]) & (summary["protocol"] == "wagle")]
    columns = ["method", "selection", "metric", "mean", "se", "seeds"]
    share = (
        moved.groupby(["method", "selection"], sort=False)["share"]
        .agg(["mean", "sem", "count"])
        .reset_index()
    )
    share = share.rename(columns={"sem": "se", "count": "seeds"}).assign(metric="share moved")
    data = pd.concat([share[columns], data[columns]], ignore_index=True)
    for key in ("objective", "precision", "lr"):
        data[key] = [methods[method][key] for method in data["method"]]
    return data[["objective", "precision", "lr", *columns]]


def _lines(axes, data: pd.DataFrame, x: str, by: str) -> None:
    for (name, group), (colour, marker, line) in zip(
        data.groupby(by, sort=False), STYLES * 4, strict=False
    ):
        group = group.sort_values(x)
        text = label(name) if by == "method" else LONG[name]
        style = {
            "color": colour,
            "marker": marker,
            "linestyle": line,
            "capsize": 4,
            "linewidth": 2,
            "markersize": 8,
        }
        axes.errorbar(group[x], group["mean"], yerr=group["se"].fillna(0), label=text, **style)
    axes.grid(alpha=0.3)


def _sparsity_sweep(figure, data: pd.DataFrame, show: dict) -> None:
    axes = figure.subplots()
    _lines(axes, data.assign(sparsity=100 * data["sparsity"]), "sparsity", "metric")
    axes.set(
        xlabel="Nominal sparsity: share frozen of the ranked weights (%)",
        ylabel="Score (0 to 1, higher is better)",
    )
    figure.legend(
        *axes.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2
    )
    axes.set_title(f"{label(show['method'])} with {label(show['selection'])} masks (0 % = dense)")


def _ratio_sweep(figure, data: pd.DataFrame, show: dict) -> None:
    left, right = figure.subplots(1, 2)
    for axes, metric in ((left, EFFICACY), (right, show["utility"])):
        _lines(axes, data[data["metric"] == metric], "ratio", "method")
        axes.set(xlabel="Selection ratio: share of weights updated", ylabel=LONG[metric])
    figure.legend(
        *left.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=4
    )
    figure.suptitle(f"{label(show['selection'])} masks (ratio 1 = dense)")


def _gamma_sweep(figure, data: pd.DataFrame, show: dict) -> None:
    left, right = figure.subplots(1, 2)
    for axes, metric in ((left, EFFICACY), (right, show["utility"])):
        chosen = data[data["metric"] == metric]
        _lines(axes, chosen[chosen["selection"] != "dense"], "log10(gamma/GN)", "method")
        dense = chosen[chosen["selection"] == "dense"]
        for (_, row), (colour, _, _) in zip(dense.iterrows(), STYLES * 4, strict=False):
            axes.axhline(
                row["mean"],
                color=colour,
                linestyle=(0, (1, 3)),
                linewidth=2,
                label=f"{label(row['method'])}, dense",
            )
        axes.set(
            xlabel=r"$\log_{10}(\gamma$ / GN$)$, GN: norm of the retain gradient",
            ylabel=LONG[metric],
        )
    figure.legend(
        *left.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=4
    )
    figure.suptitle(f"{label(show['selection'])} masks")


def _precision(figure, data: pd.DataFrame, show: dict) -> None:
    panels = figure.subplots(1, 3)
    precisions = list(dict.fromkeys(data["precision"]))
    for axes, metric in zip(panels, ("share moved", EFFICACY, show["utility"]), strict=True):
        for selection, (colour, marker, _) in zip(show["selections"], STYLES * 4, strict=False):
            for precision, line, fill in zip(
                precisions,
                ("-", "--", ":", "-.") * 2,
                ("full", "none", "left", "top") * 2,
                strict=False,
            ):
                fits = (
                    (data["metric"] == metric)
                    & (data["selection"] == selection)
                    & (data["precision"] == precision)
                )
                group = data[fits].sort_values("lr")
                style = {
                    "color": colour,
                    "marker": marker,
                    "linestyle": line,
                    "fillstyle": fill,
                    "capsize": 4,
                    "markersize": 8,
                }
                axes.errorbar(group["lr"], group["mean"], yerr=group["se"].fillna(0), linewidth=2,
                              label=f"{label(selection)}, {precision}", **style)  # fmt: skip
        axes.set(xscale="log", xlabel="Learning rate", ylabel=LONG[metric])
        axes.grid(alpha=0.3)
    panels[0].set_ylim(-0.03, 1.03)
    figure.legend(
        *panels[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=3
    )
    figure.suptitle(
        f"Weights and moments in fp32 or in bf16 ({', '.join(map(label, dict.fromkeys(data['objective'])))})"
    )


def _bars(figure, data: pd.DataFrame, show: dict, xlabel: str) -> None:
    axes = figure.subplots()
    groups = list(dict.fromkeys(data["group"]))
    selections = list(dict.fromkeys(show["selections"]))
    width = 0.8 / len(selections)
    for i, selection in enumerate(selections):
        values = data[data["selection"] == selection].set_index("group")["density"].reindex(groups)
        places = [x + (i - (len(selections) - 1) / 2) * width for x in range(len(groups))]
        axes.bar(places, values, width, label=label(selection), color=STYLES[i % len(STYLES)][0],
                 hatch=HATCHES[i % len(HATCHES)], edgecolor="white")  # fmt: skip
    axes.axhline(
        show["ratio"],
        color="black",
        linestyle=":",
        linewidth=1.5,
        label=f"overall ratio {show['ratio']:g}",
    )
    axes.set_xticks(range(len(groups)), groups, fontsize=11)
    axes.set(xlabel=xlabel, ylabel="Share of weights selected", ylim=(0, 1.02))
    axes.legend(
        frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.13), ncols=len(selections) + 1
    )


def _density_module(figure, data: pd.DataFrame, show: dict) -> None:
    _bars(figure, data, show, "Module")


def _density_layer(figure, data: pd.DataFrame, show: dict) -> None:
    _bars(figure, data, show, "Layer (0 = first)")


DRAWERS = {
    "sparsity_sweep": (_sparsity_sweep, (7.2, 4.8)),
    "ratio_sweep": (_ratio_sweep, (11, 4.6)),
    "density_module": (_density_module, (8.5, 4.6)),
    "density_layer": (_density_layer, (8.5, 4.6)),
    "gamma_sweep": (_gamma_sweep, (11, 4.6)),
    "precision": (_precision, (15, 5.2)),
}


def draw(name: str, data: pd.DataFrame, show: dict, paths: dict[str, Path]) -> None:
    """Draw figure `name` from `data` into `paths` (pdf, svg, png). No time stamps, no random ids."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    drawer, size = DRAWERS[name]
    settings = {
        "font.size": 13,
        "svg.hashsalt": "wagle",
        "svg.fonttype": "path",
        "pdf.fonttype": 42,
        "axes.axisbelow": True,
    }
    with plt.rc_context(settings):
        figure = plt.figure(figsize=size, layout="constrained")
        drawer(figure, data, show)
        dates = {
            "pdf": {"CreationDate": None, "ModDate": None},
            "svg": {"Date": None},
            "png": {"Software": None},
        }
        for kind, path in paths.items():
            figure.savefig(path, format=kind, dpi=200, metadata=dates[kind])
        plt.close(figure)
