"""Per-row values of a cell's metric, over its seeds: what the statistics engine compares.

A metrics job writes `rows.json`: protocol -> metric -> values of rows. For a mean of rows they are
a list. Elsewhere they are an object, set of rows -> list, and the lists' means add up to the value.
A set that has one value is a number without rows, such as a p value.

Notable: a metric that has no rows is known by its value alone; only seeds then tell its spread.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wagle.evaluation.statistics import Difference, difference

Rows = Sequence[float] | Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class CellValues:
    """One metric of one cell.

    `seeds` are its runs' labels. `parts` maps a set of rows to its values, (seeds, rows), or
    (seeds,) where it has no rows. The sum of the parts' means over rows is the metric.
    """

    seeds: tuple[Hashable, ...]
    parts: dict[str, np.ndarray]

    def totals(self) -> np.ndarray:
        """The metric itself, (seeds,)."""
        return sum(x if x.ndim == 1 else x.mean(1) for x in self.parts.values())

    def without_rows(self) -> "CellValues":
        return CellValues(self.seeds, {"": self.totals()})

    def of_seeds(self, seeds: Sequence[Hashable]) -> "CellValues":
        """The same metric of some of the seeds, in that order."""
        places = [self.seeds.index(seed) for seed in seeds]
        return CellValues(tuple(seeds), {name: x[places] for name, x in self.parts.items()})


def read(path: Path) -> dict[str, dict[str, Rows]]:
    """`rows.json` of one evaluated model; nothing where there is none."""
    from wagle.runtime.files import LARGE_LIMIT, read_json

    content = read_json(path, limit=LARGE_LIMIT, strict=False) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


def cell_values(
    values: Mapping[Hashable, float], rows: Mapping[Hashable, Rows | None] | None = None
) -> CellValues:
    """A metric from its value for each seed, and from its rows where every seed has the same sets.

    Rows of another number for one of the seeds, or of none, leave the values alone.
    """
    seeds = tuple(values)
    alone = CellValues(seeds, {"": np.array([values[seed] for seed in seeds], dtype=np.float64)})
    each = [(rows or {}).get(seed) for seed in seeds]
    if not each or any(not part for part in each):
        return alone
    sets = [part if isinstance(part, Mapping) else {"": part} for part in each]
    sizes = {tuple(sorted((name, len(x)) for name, x in part.items())) for part in sets}
    if len(sizes) > 1:
        return alone
    stacked = {name: np.array([part[name] for part in sets], dtype=np.float64) for name in sets[0]}
    parts = {name: x[:, 0] if x.shape[1] == 1 else x for name, x in stacked.items()}
    return CellValues(seeds, parts)


def averaged(metrics: Sequence[CellValues]) -> CellValues:
    """The plain mean of metrics of one cell.

    Parts of one name and number of rows are of the same rows, and are added up.
    """
    seeds = [s for s in metrics[0].seeds if all(s in metric.seeds for metric in metrics)]
    parts: dict[str, np.ndarray] = {}
    for number, metric in enumerate(metrics):
        for name, values in metric.of_seeds(seeds).parts.items():
            at = name
            if at in parts and parts[at].shape != values.shape:
                at = f"{name} ({number + 1})"
            share = values / len(metrics)
            parts[at] = parts[at] + share if at in parts else share
    return CellValues(tuple(seeds), parts)


def difference_of(
    first: CellValues, second: CellValues, level: float = 0.95, **options
) -> Difference:
    """`difference` of two cells; where only one of them has rows, neither's are used.

    `options` are those of `difference`.
    """
    if set(first.parts) != set(second.parts):
        first, second = first.without_rows(), second.without_rows()
    return difference(
        first.parts,
        second.parts,
        level,
        seeds=(first.seeds, second.seeds),
        weights=dict.fromkeys(first.parts, 1.0),
        **options,
    )
