"""What a budget rule does: efficacy, utility and size of its cells, and where its masks are dense.

The distance of two density profiles is the Kullback-Leibler divergence between the shares of the
selected weights that lie in each tensor: 0 where both share k alike.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from wagle.reporting import plots, tables


def divergence(first: pd.DataFrame, second: pd.DataFrame) -> float:
    """KL(first || second) in nats, between density tables of one model.

    Infinite where `second` selects nothing in a tensor in which `first` selects something.
    """
    p, q = (
        table.set_index("parameter")["selected"].to_numpy() / max(1, table["selected"].sum())
        for table in (first, second)
    )
    inside = p > 0
    with np.errstate(divide="ignore"):
        return max(0.0, float((p[inside] * np.log(p[inside] / q[inside])).sum()))


def table(
    metrics: str,
    cells: Sequence[str],
    selections: Sequence[str],
    densities: Sequence[str],
    utility: str,
) -> pd.DataFrame:
    """One row a selection: efficacy and `utility` with standard errors over seeds, its size, and
    the divergence of its density profile from that of the first selection.

    metrics: the collected metrics. cells: ids. densities: tables of the selections' masks, one for
    each of `cells`, in the same order.
    """
    frame = tables.of_cells(tables.read_metrics(metrics), list(cells))
    summary = tables.summarise(frame[frame["protocol"] == "wagle"])
    profiles = [pd.read_csv(path) for path in densities]
    seeds = len(profiles) // len(selections)
    rows = []
    for number, selection in enumerate(selections):
        own = summary[summary["selection"] == selection].set_index("metric")
        distances = pd.Series(
            [divergence(profiles[number * seeds + seed], profiles[seed]) for seed in range(seeds)]
        )
        empty = [int((profiles[number * seeds + s]["selected"] == 0).sum()) for s in range(seeds)]
        row: dict = {"selection": selection}
        for metric in (plots.EFFICACY, utility):
            row |= {metric: own.loc[metric, "mean"], f"{metric} SE": own.loc[metric, "se"]}
        row |= {
            "share updated": own.loc[plots.EFFICACY, tables.SHARE],
            f"KL from {selections[0]}": distances.mean(),
            "KL SE": distances.sem() if seeds > 1 else None,
            "empty tensors": max(empty),
            "seeds": seeds,
        }
        rows.append(row)
    return pd.DataFrame(rows)
