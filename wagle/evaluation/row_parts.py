"""Values a row for statistics that are no means of rows, so that `difference` covers their rows.

Each function gives one array for each set of rows; the arrays' means add up to the statistic. So a
difference of two cells of such a statistic is one of means (wagle/evaluation/statistics.py), with
weight 1 for each set.
"""

from collections.abc import Sequence

import numpy as np

from wagle.errors import WagleError


def samples_of(*samples) -> list[np.ndarray]:
    """As float64. Raises WagleError for one that is empty or no list, NaN or Inf."""
    arrays = [np.asarray(x, dtype=np.float64) for x in samples]
    if any(x.ndim != 1 or not x.size or not np.isfinite(x).all() for x in arrays):
        raise WagleError("a sample that is empty, has NaN or Inf, or is no list", "finite numbers")
    return arrays


def ks_parts(first, second) -> tuple[np.ndarray, np.ndarray]:
    """Values a row of both samples, (n,) and (m,), whose means add up to the KS statistic D.

    D in [0, 1] is the largest gap of the two distribution functions, and lies at some value t.
    There each row counts by whether it is at most t. So D is a difference of two shares of rows,
    which `difference` treats as any other, with weight 1 for both parts.
    Near D = 0 the estimate is too high, by about 0.87 sqrt(1/n + 1/m), which cells of the same rows
    mostly share; the standard error of one D is then too wide, by up to 1.9 times.
    Source: linearisation at t; van der Vaart, Asymptotic Statistics (1998), chapter 20.
    Raises WagleError for an empty sample, NaN or Inf.
    """
    first, second = samples_of(first, second)
    points = np.concatenate([first, second])
    shares = [np.searchsorted(np.sort(x), points, "right") / len(x) for x in (first, second)]
    gap = shares[0] - shares[1]
    at = int(np.abs(gap).argmax())
    sign = 1.0 if gap[at] >= 0 else -1.0
    return sign * (first <= points[at]), -sign * (second <= points[at])


def auroc_parts(positive, negative) -> tuple[np.ndarray, np.ndarray]:
    """Values a row of both samples, (n,) and (m,), whose means add up to the AUROC.

    The variance that follows is DeLong's (Biometrics 44, 1988). Weight 1 for both parts.
    Raises WagleError for an empty sample, NaN or Inf.
    """
    positive, negative = samples_of(positive, negative)

    def above(x, y):  # share of y below each x, ties half
        y = np.sort(y)
        return (np.searchsorted(y, x, "left") + np.searchsorted(y, x, "right")) / (2 * len(y))

    placed = above(positive, negative)
    return placed, 1 - above(negative, positive) - placed.mean()


def harmonic_parts(rows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Values a row, one array for each set of rows, whose means add up to the harmonic mean.

    For model utility, the harmonic mean of the sets' means. By the delta method; weight 1 each.
    Sets that are metrics of the same rows are to be added up afterwards. A mean of 0 makes all 0.
    Raises WagleError for an empty set, NaN, Inf or a negative mean.
    """
    rows = samples_of(*rows)
    means = np.array([x.mean() for x in rows])
    if (means < 0).any():
        raise WagleError("harmonic mean of a negative number", "means of at least 0")
    value = 0.0 if (means == 0).any() else len(rows) / (1 / means).sum()
    slopes = (value / np.where(means > 0, means, 1)) ** 2 / len(rows)
    return [value / len(rows) + s * (x - m) for x, m, s in zip(rows, means, slopes, strict=True)]
