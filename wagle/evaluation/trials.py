"""The trials of one method and selection, and the rule by which one of them is picked.

A trial is a point (ratio, learning rate), run with every tuning seed. It is judged by means over
these seeds: the most of one metric among the points that keep another one at a least value.

Notable: a point whose answers collapsed does not keep the least value, whatever it says
(wagle/evaluation/degeneration.py). Of equal points the one with the lower
learning rate wins, then the lower ratio. Where no point keeps the least value, the one that keeps
most is picked, and `met` says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wagle.errors import WagleError
from wagle.evaluation.degeneration import is_collapsed
from wagle.evaluation.names import DEGENERATE
from wagle.experiment.cells import Cell


@dataclass(frozen=True)
class Rule:
    """Most of `maximised`, with `kept` of at least the share `at_least` of the model `baseline`."""

    maximised: str
    kept: str
    at_least: float
    baseline: str

    @classmethod
    def of_config(cls, rule: Mapping) -> "Rule":
        [(kept, limit)] = rule["subject_to"].items()
        return cls(rule["maximise"], kept, limit["at_least"], limit["of"])

    @property
    def metrics(self) -> tuple[str, str]:
        return self.maximised, self.kept


@dataclass(frozen=True)
class Point:
    """A trial's place and outcome: means over its seeds of both metrics of the rule, and of the
    share of degenerate answers; None where the task has no answers.
    """

    group: str
    ratio: float | None
    lr: float
    seeds: tuple[int, ...]
    maximised: float
    kept: float
    degenerate: float | None = None


@dataclass(frozen=True)
class Pick:
    """The picked point, whether it keeps the least value, and at which ends of the grid it lies."""

    point: Point
    met: bool
    ends: tuple[str, ...]
    points: int

    def as_json(self, rule: Rule, least: float) -> dict:
        point = self.point
        return {
            "group": point.group,
            "lr": point.lr,
            "ratio": point.ratio,
            "met": self.met,
            "ends": list(self.ends),
            "points": self.points,
            "seeds": list(point.seeds),
            "least": least,
            "metrics": {rule.maximised: point.maximised, rule.kept: point.kept},
        }


def points(cells: Sequence[str], metrics: Sequence[Mapping], rule: Rule) -> list[Point]:
    """The points of the trials `cells` (ids), whose `metrics` are metric -> {value, ...}.

    Raises WagleError where a trial lacks a metric of the rule.
    """
    runs: dict[tuple, list] = {}
    for name, found in zip(cells, metrics, strict=True):
        cell = Cell.parse(name)
        for metric in rule.metrics:
            if metric not in found:
                raise WagleError(f"trial {name} has no {metric}", ", ".join(found))
        runs.setdefault((cell.group, cell.ratio, cell.lr), []).append((cell.seed, found))
    return [
        Point(
            *place,
            tuple(seed for seed, _ in found),
            sum(metrics[rule.maximised]["value"] for _, metrics in found) / len(found),
            sum(metrics[rule.kept]["value"] for _, metrics in found) / len(found),
            _degenerate([metrics for _, metrics in found]),
        )
        for place, found in runs.items()
    ]


def _degenerate(metrics: Sequence[Mapping]) -> float | None:
    shares = [entries[DEGENERATE]["value"] for entries in metrics if DEGENERATE in entries]
    return sum(shares) / len(shares) if shares else None


def _is_collapsed(point: Point, original: float | None) -> bool:
    known = point.degenerate is not None and original is not None
    return known and is_collapsed(point.degenerate, original)


def pick(trials: Sequence[Point], least: float, degenerate: float | None = None) -> Pick:
    """The point with the most of the maximised metric among those that keep `least`.

    degenerate: Original's share of degenerate answers; None where the task has no answers.

    Raises WagleError without points.
    """
    if not trials:
        raise WagleError("no trials to pick from", "at least one")
    sound = [point for point in trials if not _is_collapsed(point, degenerate)]
    meeting = [point for point in sound if point.kept >= least]

    def rank(point: Point) -> tuple:
        value = point.maximised if meeting else point.kept
        return -value, point.lr, point.ratio or 0.0

    best = min(meeting or sound or trials, key=rank)
    ends = []
    for name in ("lr", "ratio"):
        values = {getattr(point, name) for point in trials}
        for word, limit in (("lowest", min), ("highest", max)):
            if len(values) > 2 and getattr(best, name) == limit(values):
                ends.append(f"{word} {name}")
    return Pick(best, bool(meeting), tuple(ends), len(trials))
