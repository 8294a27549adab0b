"""Selections compared at equal efficacy or equal utility, over their tuning trials.

Selections differ in leverage: at an equal learning rate and number of weights one mask may move the
loss ten times as far as another. So one point of each mixes leverage with quality. Here a curve is
laid through the trials of each selection, and two curves are compared where they say the same of
one metric: utility at equal efficacy, or efficacy at equal utility.

A curve has the trials that no other trial of the same run beats in both metrics, and straight lines
between them. It is read in the middle of the range that both curves span. `step` says how far apart
the trials around that place lie: a long one is a line through little evidence.
Notable: intervals and verdicts are the statistics engine's. The metric that is held equal is taken
as known without error. Left out: curves that share no range; they are named, not extrapolated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from wagle.errors import WagleError
from wagle.evaluation.candidates import ExtrapolationError, matched
from wagle.evaluation.cell_values import CellValues, difference_of
from wagle.evaluation.statistics import overall, verdict
from wagle.experiment.cells import Cell

OTHERS = "others"
NO_RANGE = "not tested: no common range"
COLUMNS = [
    "claim",
    "method",
    "first",
    "second",
    "metric",
    "at equal",
    "at",
    "step",
    "difference",
    "low",
    "high",
    "tolerance",
    "seeds",
    "rows",
    "verdict",
]


@dataclass(frozen=True)
class Curve:
    """All trials of one method and selection.

    totals: metric -> values, (seeds, points). parts: metric -> set of rows -> values that add up to
    the metric, (seeds, points, rows), or (seeds, points, 1) for a number without rows.
    """

    seeds: tuple[int, ...]
    totals: dict[str, np.ndarray]
    parts: dict[str, dict[str, np.ndarray]]


def curves(
    cells: Sequence[str],
    metrics: Sequence[Mapping],
    rows: Sequence[Mapping],
    names: Sequence[str],
) -> dict[tuple[str, str], Curve]:
    """(method, selection) -> the curve of its trials `cells`, for the metrics `names`."""
    groups: dict[tuple[str, str], dict] = {}
    for name, values, of_rows in zip(cells, metrics, rows, strict=True):
        cell = Cell.parse(name)
        runs = groups.setdefault((cell.method, cell.selection), {})
        runs.setdefault(cell.seed, []).append((values, of_rows))
    result = {}
    for group, runs in groups.items():
        seeds, totals, parts = tuple(runs), {}, {}
        for name in names:
            each = [[_parts(name, *point) for point in points] for points in runs.values()]
            parts[name] = {
                key: np.array([[point[key] for point in points] for points in each])
                for key in each[0][0]
            }
            totals[name] = np.array(
                [[values[name]["value"] for values, _ in points] for points in runs.values()]
            )
        result[group] = Curve(seeds, totals, parts)
    return result


def _parts(name: str, values: Mapping, rows: Mapping) -> dict[str, np.ndarray]:
    """One trial's metric by set of rows; the value alone where its rows were not kept."""
    found = rows.get(name) or [values[name]["value"]]
    sets = found if isinstance(found, Mapping) else {"": found}
    return {key: np.asarray(part, dtype=np.float64) for key, part in sets.items()}


def on_frontier(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether no other point has more of both, for each of the points (x, y)."""
    return ~((x[:, None] < x) & (y[:, None] < y)).any(1)


@dataclass(frozen=True)
class Comparison:
    """The values of both curves where they agree in another metric, which is `at` there.

    `step` is how far apart the two trials around `at` lie, on the curve and seed where most.
    """

    first: CellValues
    second: CellValues
    at: float
    step: float


def compare(first: Curve, second: Curve, metric: str, equal: str) -> Comparison:
    """`metric` of both curves at equal `equal`.

    Raises ExtrapolationError where they share no range.
    """
    keeps = [
        [on_frontier(*pair) for pair in zip(curve.totals[equal], curve.totals[metric], strict=True)]
        for curve in (first, second)
    ]

    def runs(number: int, values: np.ndarray) -> list[tuple]:
        curve = (first, second)[number]
        return [
            (x[keep], y[keep])
            for x, y, keep in zip(curve.totals[equal], values, keeps[number], strict=True)
        ]

    sides = (first, second)
    at = matched(*(runs(i, side.totals[metric]) for i, side in enumerate(sides))).at
    found = []
    for number, side in enumerate(sides):
        parts = {}
        for key, values in side.parts[metric].items():
            one = runs(number, values)
            read = matched(one, one, at=at).first
            parts[key] = read[:, 0] if read.shape[1] == 1 else read
        found.append(CellValues(side.seeds, parts))
    places = [x for i, side in enumerate(sides) for x, _ in runs(i, side.totals[metric])]
    return Comparison(*found, at, max(_step(x, at) for x in places))


def _step(x: np.ndarray, at: float) -> float:
    """Distance of the points of `x` around `at`; 0 at a point."""
    return float(x[x >= at].min() - x[x <= at].max())


def table(
    cells: Sequence[str],
    metrics: Sequence[Mapping],
    rows: Sequence[Mapping],
    names: Sequence[str],
    stated: Mapping,
) -> pd.DataFrame:
    """Both matched forms of every comparison of two selections that a claim makes.

    names: the two metrics of the tuning's rule. stated: the claims file's level, least_seeds,
    judged_on and claims. A row has its claim's id where the form is of the claim's own metric.
    """
    judged = [_judged(name, stated["judged_on"], metrics) for name in names]
    found = curves(cells, metrics, rows, judged)
    lines: dict[tuple, dict] = {}
    for claim in stated["claims"]:
        own: list[dict] = []
        for part in claim["all_of"]:
            if not _is_of_selections(part, names):
                continue
            for method, one, other in _pairs(part, found):
                for metric, equal in (judged, judged[::-1]):
                    is_own = metric == judged[names.index(part["metric"][0])]
                    line = _line(found, method, one, other, metric, equal, part, stated)
                    line["claim"] = claim["id"] if is_own else ""
                    key = (method, one, other, metric)
                    if is_own or key not in lines:
                        lines[key] = line
                    own += [line] * is_own
        for line in own:
            line["verdict"] = _verdict(line, len(own), stated["least_seeds"])
    for line in lines.values():
        if not line["claim"]:
            line["verdict"] = _verdict(line, 1, stated["least_seeds"])
    return pd.DataFrame(list(lines.values()), columns=COLUMNS)


def _judged(name: str, judged_on: Mapping[str, str], metrics: Sequence[Mapping]) -> str:
    other = judged_on.get(name, name)
    return other if all(other in found for found in metrics) else name


def _is_of_selections(part: Mapping, names: Sequence[str]) -> bool:
    """Whether a claim's part compares one metric of two selections of the same method."""
    if len(part.get("metric", [])) != 1 or part["metric"][0] not in names:
        return False
    sides = [part["first"], part["second"]]
    same = part.get("for_each") == "method" or sides[0].get("method") == sides[1].get("method")
    return same and all("selection" in side and "ratio" not in side for side in sides)


def _pairs(part: Mapping, found: Mapping) -> list[tuple[str, str, str]]:
    """(method, first, second) of a part, as far as both have trials."""
    one, other = part["first"]["selection"], part["second"]["selection"]
    fixed = part["first"].get("method")
    return [
        (method, one, selection)
        for method, selection in found
        if (method, one) in found
        and selection != one
        and other in (OTHERS, selection)
        and fixed in (None, method)
    ]


def _line(
    found: Mapping,
    method: str,
    one: str,
    other: str,
    metric: str,
    equal: str,
    part: Mapping,
    stated: Mapping,
) -> dict:
    line = {
        "method": method,
        "first": one,
        "second": other,
        "metric": metric,
        "at equal": equal,
        "tolerance": part["tolerance"],
    }
    try:
        compared = compare(found[method, one], found[method, other], metric, equal)
    except ExtrapolationError:
        return line | {"result": None}
    result = difference_of(
        compared.first, compared.second, stated["level"], least_seeds=stated["least_seeds"]
    )
    return line | {
        "at": compared.at,
        "step": compared.step,
        "difference": result.value,
        "low": result.low,
        "high": result.high,
        "seeds": result.n_seeds,
        "rows": result.n_rows,
        "result": result,
    }


def _verdict(line: Mapping, pairs: int, least_seeds: int) -> str:
    if line["result"] is None:
        return NO_RANGE
    return verdict(line["result"], line["tolerance"], pairs, least_seeds)


def claim_verdict(verdicts: Sequence[str]) -> str:
    """A claim's verdict in its matched form, from those of its pairs.

    A pair without a common range keeps a claim from being reproduced, and says nothing else.
    """
    tested = [text for text in verdicts if text != NO_RANGE]
    if not tested:
        return NO_RANGE if verdicts else ""
    result, missing = overall(tested), len(verdicts) - len(tested)
    if missing and result == "reproduced":
        return f"undecided: {missing} of {len(verdicts)} pairs have no common range"
    return result


def beside(claims: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """The table of claims with the column `matched form`: the verdict at equal efficacy or utility.

    Raises WagleError where the tables are not of the same experiment's claims.
    """
    known = pairs.dropna(subset="claim")
    known = known[known["claim"] != ""]
    if not set(known["claim"]) <= set(claims["claim"]):
        raise WagleError("matched comparisons of other claims", do="re-run rule tuning_tables")
    found = {
        claim: claim_verdict(list(group["verdict"]))
        for claim, group in known.groupby("claim", sort=False)
    }
    return claims.assign(**{"matched form": [found.get(name, "") for name in claims["claim"]]})
