"""Cells prepared for `difference`: at equal efficacy, or the best of several candidates.

Both choose something by looking at numbers, and both keep that choice out of the test: `matched`
takes utility at one efficacy for all, `pick_then_test` tests on what it did not pick on.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wagle.errors import WagleError
from wagle.evaluation.row_parts import samples_of
from wagle.evaluation.statistics import Cell, blocks_of


class ExtrapolationError(WagleError, ValueError):
    """A value was asked outside the range in which both cells have points."""


@dataclass(frozen=True)
class Matched:
    """Utility of both cells at the same efficacy `at`, per seed; `low` to `high` both have."""

    first: np.ndarray
    second: np.ndarray
    at: float
    low: float
    high: float


def matched(
    first: Sequence[tuple], second: Sequence[tuple], at: float | None = None, frontier: bool = False
) -> Matched:
    """Utility at equal efficacy, for `difference(m.first, m.second)`.

    Each cell is a list over seeds of (efficacy, utility): efficacy (points,) of a run's evaluated
    steps or of its tuning trials, utility (points,) or, to keep the rows, (points, rows).
    Utility is interpolated linearly between the two points around `at`, by default the middle of
    the range that every run of both cells spans. `frontier` first drops points that another one
    beats in both; for tuning trials, with as many trials on both sides.
    The choice of `at` must not look at the difference. Efficacy is taken as known without error.
    Raises ExtrapolationError, a ValueError too, outside that range, or where there is none.
    Raises WagleError for NaN, Inf or numbers of points that differ.
    """
    runs = [[_curve(*run, frontier) for run in side] for side in (first, second)]
    if not all(runs):
        raise WagleError("a cell without runs", "at least one seed each")
    low = max(x[0] for side in runs for x, _ in side)
    high = min(x[-1] for side in runs for x, _ in side)
    if low > high:
        raise ExtrapolationError(f"no efficacy that all runs span ({low:g} > {high:g})")
    at = (low + high) / 2 if at is None else at
    if not low <= at <= high:
        raise ExtrapolationError(f"efficacy {at:g}", f"{low:g} to {high:g}", "evaluate more steps")
    return Matched(*(np.array([_at(at, *run) for run in side]) for side in runs), at, low, high)


def _curve(efficacy, utility, frontier: bool) -> tuple[np.ndarray, np.ndarray]:
    (x,), y = samples_of(efficacy), np.asarray(utility, dtype=np.float64)
    if len(x) != len(y) or not np.isfinite(y).all():
        raise WagleError(f"{len(x)} points of efficacy and {len(y)} of utility, or NaN", "pairs")
    if frontier:
        height = y.reshape(len(y), -1).mean(1)
        beaten = (x[:, None] < x) & (height[:, None] < height)
        x, y = x[~beaten.any(1)], y[~beaten.any(1)]
    order = np.argsort(x, kind="stable")
    return x[order], y[order]


def _at(at: float, x: np.ndarray, y: np.ndarray):
    j = int(np.searchsorted(x, at))
    if x[j] == at:
        return y[x == at].mean(0)
    share = (at - x[j - 1]) / (x[j] - x[j - 1])
    return y[j - 1] * (1 - share) + y[j] * share


def pick_then_test(
    candidates: Mapping[Hashable, Cell], folds: int = 2, weights: Mapping[str, float] | None = None
) -> tuple[Cell, list[Hashable]]:
    """The best candidate as a cell for `difference`, without the optimism of picking it.

    `candidates` maps a name, such as a ratio, to its cell; all have the same seeds and rows.
    Rows are dealt into `folds`. For each seed and fold the best candidate is picked on the other
    seeds and the other folds, and its values of this seed and fold are kept. No value takes part
    in a choice that it is tested on, so the mean is unbiased for a candidate so chosen.
    Seeds alone would not do: the rows are the same for every seed, so are their lucky ones.
    It is not the mean of the best one: a choice made on less data is sometimes the second best.
    Of equal candidates, 2 folds give 5 to 7 % false positives, 10 folds 8 to 11 %.
    Gives the cell, of the candidates' shape, and the picks, one for each seed and fold.
    Raises WagleError for fewer than two seeds, or for cells of different shapes.
    Source: cross-fitting; Chernozhukov et al., The Econometrics Journal 21 (2018), section 3.
    """
    cells = {name: blocks_of(cell) for name, cell in candidates.items()}
    if len({tuple((k, b.shape) for k, b in cell.items()) for cell in cells.values()}) != 1:
        raise WagleError("candidates of different shapes, or none", "the same seeds and rows")
    shape = next(iter(cells.values()))
    seeds = len(next(iter(shape.values())))
    if seeds < 2 or folds < 1:
        raise WagleError(f"{seeds} seeds, {folds} folds", "two seeds to pick on one of them")
    weights = dict.fromkeys(shape, 1.0) if weights is None else weights
    fold = {k: np.arange(b.shape[1]) % folds for k, b in shape.items()}
    best, picks = {k: np.empty_like(b) for k, b in shape.items()}, []
    for seed in range(seeds):
        others = np.arange(seeds) != seed
        for part in range(folds):

            def score(name, others=others, part=part):
                return sum(
                    weights[k] * b[others][:, _kept(fold[k], part)].mean()
                    for k, b in cells[name].items()
                )

            picks.append(max(cells, key=score))
            for k, block in cells[picks[-1]].items():
                best[k][seed, fold[k] == part] = block[seed, fold[k] == part]
    single = next(iter(candidates.values()))
    if isinstance(single, Mapping):
        return {k: b[:, 0] if np.ndim(single[k]) == 1 else b for k, b in best.items()}, picks
    return (best[""][:, 0] if np.ndim(single) == 1 else best[""]), picks


def _kept(fold: np.ndarray, part: int) -> np.ndarray:
    """Rows to pick on: those of the other folds; all, where there is one fold or no rows."""
    return fold != part if fold.max() > 0 else np.ones(len(fold), dtype=bool)
