"""Where masks select: density tables by module or layer, and their bar charts."""

import re
from collections.abc import Callable, Sequence

import pandas as pd

from wagle.model.families import LABELS, module_of
from wagle.reporting.frames import label
from wagle.reporting.plots import HATCHES, STYLES

COLUMNS = ["selection", "group", "selected", "size", "density"]


def by_module(data: pd.DataFrame) -> pd.DataFrame:
    """Rows grouped by kind of module, in the order of the paper's figure."""
    order = {name: i for i, name in enumerate(LABELS)}
    data = data.assign(group=data["parameter"].map(module_of))
    return data.assign(order=data["group"].map(order))


def by_layer(data: pd.DataFrame) -> pd.DataFrame:
    """Rows grouped by layer; parameters outside the layers are left out."""
    matches = [re.search(r"\.(\d+)\.", name) for name in data["parameter"]]
    data = data.assign(group=[int(match.group(1)) if match else None for match in matches])
    data = data.dropna(subset="group").astype({"group": int})
    return data.assign(order=data["group"])


def densities(
    paths: Sequence, selections: Sequence[str], group: Callable[[pd.DataFrame], pd.DataFrame]
) -> pd.DataFrame:
    """Share of selected weights by selection and group, from density tables (one a selection)."""
    frames = []
    for path, selection in zip(paths, selections, strict=True):
        rows = group(pd.read_csv(path)).groupby(["order", "group"], sort=False)
        sums = rows[["selected", "size"]].sum().reset_index()
        frames.append(sums.assign(density=sums["selected"] / sums["size"], selection=selection))
    data = pd.concat(frames, ignore_index=True)
    return data.sort_values(["selection", "order"], kind="stable")[COLUMNS].reset_index(drop=True)


def draw_bars(figure, data: pd.DataFrame, params: dict, xlabel: str) -> None:
    """Grouped bars, one colour and hatch a selection, and a line at the overall ratio."""
    axes = figure.subplots()
    groups = list(dict.fromkeys(data["group"]))
    selections = list(dict.fromkeys(params["selections"]))
    width = 0.8 / len(selections)
    for i, selection in enumerate(selections):
        values = data[data["selection"] == selection].set_index("group")["density"].reindex(groups)
        places = [x + (i - (len(selections) - 1) / 2) * width for x in range(len(groups))]
        axes.bar(
            places,
            values,
            width,
            label=label(selection),
            color=STYLES[i][0],
            hatch=HATCHES[i % len(HATCHES)],
            edgecolor="white",
        )
    axes.axhline(
        params["ratio"],
        color="black",
        linestyle=":",
        linewidth=1.5,
        label=f"overall ratio {params['ratio']:g}",
    )
    axes.set_xticks(range(len(groups)), groups, fontsize=11)
    axes.set(xlabel=xlabel, ylabel="Share of weights selected", ylim=(0, 1.02))
    axes.legend(
        frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.13), ncols=len(selections) + 1
    )
