"""Intervals and verdicts for the difference of two cells: one engine for every caller.

A cell is one evaluated (method, selection, ratio), run with several seeds on the same rows.
Rows are taken as a random sample of questions, seeds as a random sample of runs.
`difference` says how far the difference of two means may lie from that of all questions and runs.
`verdict` turns it into a claim's answer, `seeds_needed` says how many seeds would decide.
Rows of statistics that are no means of rows: wagle/evaluation/row_parts.py. Cells at equal
efficacy and the best of several candidates: wagle/evaluation/candidates.py.

Method: variance components of rows crossed with seeds, and Student's t.
A percentile bootstrap of rows crossed with seeds was tried: of three seeds with an SD of 0.05 it
covers 76 %, not 95. Three seeds drawn again from three understate their spread, and percentiles
know no degrees of freedom. Of three seeds that do not differ it covers 99 %.
A t statistic over seeds alone forgets that other rows would give another mean.
Left out: any file, any table.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from wagle.errors import WagleError

LEAST_SEEDS = 3  # two runs give a spread with one degree of freedom: an interval 13 errors wide
Cell = np.ndarray | Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Difference:
    """first - second, in the metric's own unit, and how sure it is.

    `low` and `high` bound the interval at `level`; `p` is two-sided, for no difference.
    `se` is the standard error and `df` its effective degrees of freedom.
    `n_seeds` and `n_rows` are those of the smaller cell; rows are summed over components.
    `covers` says in words which variation the interval covers; `covers_seeds` says it for code.
    `rows_variance` + `seeds_variance` = se squared; the second falls with more seeds.
    """

    value: float
    low: float
    high: float
    se: float
    df: float
    p: float
    n_seeds: int
    n_rows: int
    covers: str
    covers_seeds: bool
    level: float
    rows_variance: float
    seeds_variance: float
    seeds_df: float

    def interval(self, level: float) -> tuple[float, float]:
        """(low, high) at another two-sided confidence level in (0, 1)."""
        half = _half(self.se, self.df, level)
        return self.value - half, self.value + half


def _half(se: float, df: float, level: float) -> float:
    if not 0 < level < 1:
        raise WagleError(f"level {level!r}", "a number between 0 and 1")
    return se if se in (0, math.inf) else float(stats.t.ppf((1 + level) / 2, df)) * se


@dataclass(frozen=True)
class Moments:
    """Estimates of one comparison; arrays where the blocks had leading axes."""

    value: np.ndarray
    rows_variance: np.ndarray
    seeds_variance: np.ndarray
    seeds_df: np.ndarray
    df: np.ndarray


def _interaction(block: np.ndarray) -> tuple[np.ndarray, int]:
    """Mean square of the row-by-seed residual, and its degrees of freedom."""
    seeds, rows = block.shape[-2:]
    residual = block - block.mean(-1, keepdims=True)
    total = np.einsum("...sr,...sr->...", residual, residual)
    between = residual.mean(-2)
    left = total - seeds * np.einsum("...r,...r->...", between, between)
    df = (seeds - 1) * (rows - 1)
    return np.maximum(left, 0) / df, df


def moments(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    weights: Sequence[float],
    paired_rows: bool,
    paired_seeds: bool,
    crossed: bool,
) -> Moments:
    """The estimates behind `difference`, for any number of cells at once.

    `first` and `second` hold one block (..., seeds, rows) a component; one row means no rows.
    Without `crossed`, the seeds at hand are taken as given, and only rows vary.

    With d the differences of two crossed cells of m seeds and n rows, MS the mean squares of the
    two-way layout of d, and V the variance of the mean of d, an unbiased estimate is
        V = A + B,  A = (MS_rows - MS_interaction) / (m n),  B = MS_seeds / (m n)
    (Searle, Casella and McCulloch, Variance Components, 1992, section 4.3). A below 0 counts as 0.
    Effective degrees of freedom, the fewer of two:
        Satterthwaite's (Biometrics Bulletin 2, 1946): 1/df = sum of (term / V)^2 / df_term
        the first power, of seeds alone: 1/df = (B / V) / df_B
    Satterthwaite alone covers 92 % where B has two degrees of freedom and is most of V.
    With the first power coverage is 94.2 to 96.3 % for every B/V, from normal theory.
    B of two cells of independent seeds is Welch's.
    """
    rows_variance, terms, runs = 0.0, [], [0.0, 0.0]
    for a, b, weight in zip(first, second, weights, strict=True):
        for side, block in enumerate((a, b)):
            runs[side] = runs[side] + weight * block.mean(-1)
        if a.shape[-1] == 1:
            continue
        means = [a.mean(-2), b.mean(-2)]
        means = [means[0] - means[1]] if paired_rows else means
        parts = [(x.var(-1, ddof=1) / x.shape[-1], x.shape[-1] - 1, 1) for x in means]
        if crossed:
            blocks = [a - b] if paired_rows and paired_seeds else [a, b]
            for block in blocks:
                square, df = _interaction(block)
                parts.append((square / math.prod(block.shape[-2:]), df, -1))
        for variance, df, sign in parts:
            rows_variance = rows_variance + sign * weight**2 * variance
            terms.append((weight**2 * variance, df))
    value = runs[0].mean(-1) - runs[1].mean(-1)
    seeds_variance, seeds_df = np.zeros_like(value), np.full_like(value, math.inf)
    if crossed:
        sides = [runs[0] - runs[1]] if paired_seeds else runs
        spreads = [(x.var(-1, ddof=1) / x.shape[-1], x.shape[-1] - 1) for x in sides]
        seeds_variance = sum(v for v, _ in spreads)
        seeds_df = _ratio(seeds_variance**2, sum(v**2 / df for v, df in spreads), spreads[0][1])
    rows_variance = np.maximum(np.broadcast_to(rows_variance, value.shape), 0.0)
    total = rows_variance + seeds_variance
    share = _ratio(seeds_variance, total, 0.0)
    satterthwaite = share**2 / seeds_df + sum(_ratio(v, total, 0.0) ** 2 / df for v, df in terms)
    inverse = np.maximum(share / seeds_df, satterthwaite)
    least = np.minimum(seeds_df, min((df for _, df in terms), default=math.inf))
    df = np.maximum(_ratio(np.ones_like(value), inverse, math.inf), least)
    return Moments(value, rows_variance, seeds_variance, seeds_df, df)


def _ratio(above, below, otherwise: float) -> np.ndarray:
    out = np.full(np.shape(below), float(otherwise))
    return np.divide(above, below, out=out, where=np.asarray(below) > 0)


def difference(
    first: Cell,
    second: Cell,
    level: float = 0.95,
    *,
    seeds: tuple[Sequence[Hashable], Sequence[Hashable]] | None = None,
    paired_rows: bool = True,
    weights: Mapping[str, float] | None = None,
    least_seeds: int = LEAST_SEEDS,
) -> Difference:
    """Mean of `first` less mean of `second`, with an interval over rows and seeds.

    A cell is an array (seeds, rows), or (seeds,) for a metric that has no rows.
    A metric averaged of several sets of rows is a mapping from a name to such an array; both cells
    have the same names. `weights` gives each name's weight, by default equal ones that sum to 1.
    Metrics of the same rows belong in one array: add or average them first.

    Rows are paired by position and must agree in number; `paired_rows=False` for other rows.
    Seeds are paired where `seeds`, the labels of both cells' runs, share at least `least_seeds`:
    then only shared ones are used. Otherwise all are used, as independent. Without labels both
    cells have the same seeds in the same order.

    With fewer than `least_seeds` seeds in a cell the spread over seeds cannot be told: the interval
    then covers rows alone, as `covers` says, and is infinite where a metric has no rows.
    Coverage of 95 % intervals, simulated for 3 to 6 seeds and 40 to 400 rows: 94 to 97 %.
    Raises WagleError for NaN, Inf, other shapes, repeated labels, or names or weights that differ.
    Source: see `moments`.
    """
    blocks = [blocks_of(cell) for cell in (first, second)]
    names = list(blocks[0])
    if set(names) != set(blocks[1]):
        raise WagleError(f"components {names} and {list(blocks[1])}", "the same in both cells")
    weights = dict.fromkeys(names, 1 / len(names)) if weights is None else weights
    if set(weights) != set(names) or not np.isfinite(list(weights.values())).all():
        raise WagleError(f"weights {weights}", f"one number for each of {', '.join(names)}")
    least_seeds = max(least_seeds, 2)
    blocks, paired_seeds = _pair_seeds(blocks, seeds, least_seeds)
    counts = [len(next(iter(side.values()))) for side in blocks]
    for name in names:
        rows = [side[name].shape[1] for side in blocks]
        if (paired_rows and rows[0] != rows[1]) or (rows[0] == 1) != (rows[1] == 1):
            raise WagleError(f"{name or 'cells'} of {rows[0]} and {rows[1]} rows", "the same rows")
    bare = [name for name in names if blocks[0][name].shape[1] == 1]
    crossed = min(counts) >= least_seeds
    sides = [[side[name] for name in names] for side in blocks]
    estimate = moments(*sides, [weights[n] for n in names], paired_rows, paired_seeds, crossed)
    value, df = float(estimate.value), float(estimate.df)
    se = float(np.sqrt(estimate.rows_variance + estimate.seeds_variance))
    if abs(se) <= 1e-12 * max(np.abs(block).max() for side in sides for block in side):
        se = 0.0  # all differences are equal up to rounding
    if bare and not crossed:
        se = math.inf
    half = _half(se, df, level)
    p = float(value == 0) if se == 0 else float(2 * stats.t.sf(abs(value) / se, df))
    return Difference(
        value=value, low=value - half, high=value + half, se=se, df=df, p=p,
        n_seeds=min(counts),
        n_rows=min(sum(x.shape[1] for x in side if x.shape[1] > 1) for side in sides),
        covers=_covers(names, bare, counts, crossed, paired_rows, paired_seeds, least_seeds),
        covers_seeds=crossed, level=level,
        rows_variance=float(estimate.rows_variance), seeds_variance=float(estimate.seeds_variance),
        seeds_df=float(estimate.seeds_df),
    )  # fmt: skip


def blocks_of(cell: Cell) -> dict[str, np.ndarray]:
    """Components by name, each (seeds, rows); the name of a single array is empty."""
    blocks = {}
    for name, values in (cell if isinstance(cell, Mapping) else {"": cell}).items():
        try:
            block = np.asarray(values, dtype=np.float64)
        except ValueError:
            raise WagleError("rows that differ in number", "(seeds, rows)") from None
        if block.ndim not in (1, 2) or not block.size:
            raise WagleError(f"values of shape {block.shape}", "(seeds, rows) or (seeds,)")
        if not np.isfinite(block).all():
            raise WagleError("values with NaN or Inf", "finite values")
        blocks[name] = block[:, None] if block.ndim == 1 else block
    if not blocks or len({len(block) for block in blocks.values()}) > 1:
        raise WagleError("components of different numbers of seeds, or none", "the same seeds")
    return blocks


def _pair_seeds(blocks, seeds, least: int):
    """Both cells' components, cut to the shared seeds in one order, and whether they are paired."""
    counts = [len(next(iter(side.values()))) for side in blocks]
    if seeds is None:
        if counts[0] != counts[1]:
            raise WagleError(f"{counts[0]} and {counts[1]} seeds", "labels in `seeds`")
        return blocks, True
    places = [{label: i for i, label in enumerate(labels)} for labels in seeds]
    if [len(place) for place in places] != counts or list(map(len, seeds)) != counts:
        raise WagleError(
            f"labels {[list(s) for s in seeds]} of {counts} seeds", "one label a seed, each once"
        )
    shared = [label for label in places[0] if label in places[1]]
    if len(shared) < least and not len(shared) == counts[0] == counts[1]:
        return blocks, False
    pick = [[place[label] for label in shared] for place in places]
    return [{n: b[i] for n, b in side.items()} for side, i in zip(blocks, pick, strict=True)], True


def _covers(names, bare, counts, crossed, paired_rows, paired_seeds, least: int) -> str:
    rows = "" if len(bare) == len(names) else "paired rows" if paired_rows else "independent rows"
    if bare and rows:
        rows += f" (but not those of {', '.join(bare)})"
    number = str(counts[0]) if counts[0] == counts[1] else f"{counts[0]} and {counts[1]}"
    if not crossed:
        wanted = f"not the spread over seeds: {number} of at least {least}"
        return f"{'nothing' if bare else rows}; {wanted}"
    runs = f"{number} {'paired' if paired_seeds else 'independent'} seeds"
    return f"{runs} and {rows}" if rows else f"{runs}; not the choice of rows"


def seeds_needed(
    diff: Difference, tolerance: float = 0.0, pairs: int = 1, limit: int = 100
) -> float:
    """About how many seeds would decide an undecided `verdict`, were the value to stay as it is.

    The seeds' share of the variance falls as 1/seeds, the rows' share stays.
    inf: not even `limit` seeds would decide it, as the rows are too few or the value lies on a
    limit. A difference that does not cover seeds needs LEAST_SEEDS at least, and the answer then
    rests on rows alone. An estimate from three seeds is itself within a factor of two or three.
    Raises WagleError for a `pairs` below 1.
    """
    level, distance = _to_decide(diff, tolerance, pairs)
    known = diff.seeds_variance > 0 and math.isfinite(diff.seeds_df)
    for n in range(max(LEAST_SEEDS, diff.n_seeds + diff.covers_seeds), limit + 1):
        seeds = diff.seeds_variance * diff.n_seeds / n if known else 0.0
        total = diff.rows_variance + seeds
        seeds_df = diff.seeds_df * (n - 1) / max(diff.n_seeds - 1, 1) if known else n - 1
        df = total / seeds * seeds_df if seeds else max(diff.n_rows - 1, 1)
        if _half(math.sqrt(total), df, level) < distance:
            return n
    return math.inf


def _to_decide(diff: Difference, tolerance: float, pairs: int) -> tuple[float, float]:
    """Level of the interval that decides, and how far its limit must stay from the value."""
    if pairs < 1:
        raise WagleError(f"{pairs} pairs", "at least one")
    if diff.value >= tolerance:
        return diff.level, diff.value - min(0.0, tolerance)
    return 1 - (1 - diff.level) / pairs, tolerance - diff.value


@dataclass(frozen=True)
class Decision:
    """A verdict and the interval that it rests on.

    `level` is the interval's two-sided level; `pairs` is the number of pairs that it is corrected
    for, 1 where it is not.
    """

    verdict: str
    low: float
    high: float
    level: float
    pairs: int


def decide(
    diff: Difference, tolerance: float = 0.0, pairs: int = 1, least_seeds: int = LEAST_SEEDS
) -> Decision:
    """`verdict`, with the interval that decided it. Raises as `verdict` does."""
    text = verdict(diff, tolerance, pairs, least_seeds)
    level, _ = _to_decide(diff, tolerance, pairs)
    corrected = pairs if diff.value < tolerance else 1
    return Decision(text, *diff.interval(level), level, corrected)


def verdict(
    diff: Difference, tolerance: float = 0.0, pairs: int = 1, least_seeds: int = LEAST_SEEDS
) -> str:
    """The answer to "first is larger than second", for one pair out of `pairs`.

    `tolerance` is the smallest difference that counts. A negative one asks for less: that first is
    not worse than second by more than it (non-inferiority).

    reproduced
        The value is at least the tolerance, and the interval lies above 0; with a negative
        tolerance, above the tolerance.
    not reproduced: lower
        The whole interval lies below the tolerance, and the value below 0.
    not reproduced: higher, but by less than the tolerance
        The whole interval lies below the tolerance, and the value above 0.
    not reproduced: no difference
        The same with a value of exactly 0.
    undecided: needs about N seeds
        Anything else, and every difference of fewer than `least_seeds` seeds. Where no number of
        seeds would do: "undecided: needs more rows, not seeds".

    A claim of several pairs holds if each does, which needs no correction for their number.
    It fails if one fails, so the interval for "not reproduced" is Bonferroni's, of `pairs`.
    `least_seeds=1` is for what is not a sample of runs, such as the weights of one mask.
    Raises WagleError for a tolerance or a value that is not finite.
    """
    if not math.isfinite(tolerance) or not math.isfinite(diff.value):
        raise WagleError(f"difference {diff.value}, tolerance {tolerance}", "finite numbers")
    level, distance = _to_decide(diff, tolerance, pairs)
    if diff.n_seeds >= least_seeds and _half(diff.se, diff.df, level) < distance:
        if diff.value >= tolerance:
            return "reproduced"
        if diff.value == 0:
            return "not reproduced: no difference"
        less = "higher, but by less than the tolerance"
        return f"not reproduced: {'lower' if diff.value < 0 else less}"
    needed = seeds_needed(diff, tolerance, pairs)
    if math.isinf(needed):
        return "undecided: needs more rows, not seeds"
    return f"undecided: needs about {needed:.0f} seeds"


def overall(verdicts: Sequence[str]) -> str:
    """A claim's verdict from those of its pairs: the first failure, else the least decided one.

    Raises WagleError without verdicts.
    """
    if not verdicts:
        raise WagleError("no verdicts", "at least one pair")
    for start in ("not reproduced", "undecided: needs more rows"):
        if failed := [text for text in verdicts if text.startswith(start)]:
            return failed[0]
    open_ = [text for text in verdicts if text.startswith("undecided")]
    return max(open_, key=lambda text: int(text.split()[-2])) if open_ else "reproduced"


def holm(values: Sequence[float]) -> list[float]:
    """p values after Holm's step-down correction, in the order given.

    NaN is no comparison and stays NaN. Its chance of any false positive is that of one test.
    Source: Holm, Scandinavian Journal of Statistics 6 (1979). Raises WagleError outside [0, 1].
    """
    if any(p < 0 or p > 1 for p in values):
        raise WagleError(f"p values {list(values)}", "numbers in [0, 1]")
    order = sorted((i for i, p in enumerate(values) if p == p), key=lambda i: values[i])
    result, running = [math.nan] * len(values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * values[i]))
        result[i] = running
    return result
