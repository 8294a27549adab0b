"""Is the difference of two cells more than chance? Paired over rows and seeds.

Both cells answered the same rows, so their per-row values are compared pair by pair. Rows are the sample: values are first
averaged over seeds, for seeds repeat the same rows and would otherwise be counted as new evidence.

Left out: corrections for many comparisons; a reader who tests every cell of a table must make one.
"""

import math
from typing import NamedTuple

import numpy as np

from wagle.errors import WagleError


class Paired(NamedTuple):
    """second - first: mean difference, its standard error over rows, t interval, two-sided p, and what it rests on."""

    difference: float
    se: float
    low: float
    high: float
    p: float
    rows: int
    seeds: int


def paired(first, second, level: float = 0.95) -> Paired:
    """Compare per-row values (seeds, rows) of two cells, or (rows,) for one seed; NaN is refused.

    Student's t over rows (scipy). Where all differences are equal, se is 0 and p is 1 for no difference, 0 for one. Raises
    WagleError when the shapes differ or there are fewer than two rows.
    """
    from scipy import stats

    arrays = [np.atleast_2d(np.asarray(x, dtype=np.float64)) for x in (first, second)]
    if arrays[0].shape[1] != arrays[1].shape[1] or arrays[0].ndim != 2 or arrays[0].shape[1] < 2:
        raise WagleError(
            f"cells of shapes {arrays[0].shape} and {arrays[1].shape}",
            "(seeds, rows) with the same two or more rows",
        )
    if not all(np.isfinite(x).all() for x in arrays):
        raise WagleError("per-row values have NaN or Inf", "finite values")
    differences = arrays[1].mean(0) - arrays[0].mean(0)  # (rows,)
    rows = len(differences)
    mean, se = float(differences.mean()), float(differences.std(ddof=1) / math.sqrt(rows))
    seeds = min(len(x) for x in arrays)
    if se == 0 or np.ptp(differences) == 0:
        return Paired(mean, 0.0, mean, mean, 1.0 if mean == 0 else 0.0, rows, seeds)
    half = float(stats.t.ppf((1 + level) / 2, rows - 1)) * se
    p = float(stats.ttest_rel(arrays[1].mean(0), arrays[0].mean(0)).pvalue)
    return Paired(mean, se, mean - half, mean + half, p, rows, seeds)
