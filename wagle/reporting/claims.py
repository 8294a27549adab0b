"""The paper's claims as statements over cells and masks, each answered with a verdict.

wagle/assets/claims.yaml fixes every claim before a run: which cells are compared on which metric,
and the tolerance, the smallest difference that counts. A claim is a list of comparisons (`all_of`).
Each is "first is larger than second" for one or several pairs of cells, all of which must hold.

Verdicts are those of the statistics engine (wagle/evaluation/statistics.py, docs/statistics.md):
reproduced, not reproduced (lower, or higher but by less than the tolerance), or undecided (and how
many seeds would do). A claim whose cells the experiment has not is "not tested", with the reason.

Notable: "every pair holds" needs no correction for many pairs. "Some pair fails" has Bonferroni's.
A pair shows the interval that decided it, so of a failure the corrected one.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from wagle.evaluation.candidates import pick_then_test
from wagle.evaluation.cell_values import CellValues, averaged, cell_values, difference_of
from wagle.evaluation.statistics import Difference, decide, difference, overall
from wagle.model.families import module_of

CELL = ["method", "selection", "ratio"]
OTHERS = "others"


@dataclass(frozen=True)
class Setting:
    """What all claims share: the claims file's head, and the experiment's numbers.

    `metrics` is the collected table (protocol wagle), with the column `rows` where rows were kept.
    `densities` maps a selection to its mask's density table. `judged_on` maps a metric to the one
    that its differences are judged on, where the cells have it.
    """

    level: float
    least_seeds: int
    metrics: pd.DataFrame
    densities: Mapping[str, pd.DataFrame]
    judged_on: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """One comparison of a claim. `as_stated` is the difference of the metric that it states."""

    first: str
    second: str
    metric: str
    difference: Difference
    tolerance: float
    as_stated: float
    least_seeds: int


@dataclass(frozen=True)
class CellName:
    """Method, selection and ratio of a cell; a picked one has several ratios."""

    method: str
    selection: str
    ratios: tuple[float, ...]

    def __str__(self) -> str:
        ratio = "|".join(f"{ratio:g}" for ratio in self.ratios)
        return f"{self.method}/{self.selection}" + (f"/ratio-{ratio}" if ratio else "")


def judge(claim: dict, setting: Setting) -> dict:
    """One claim's answer: id, text, verdict, reason, every pair, and the pair that decides.

    Raises WagleError where a metric is NaN.
    """
    answer = {"claim": claim["id"], "text": claim["text"]}
    try:
        compared = [pair for part in claim["all_of"] for pair in _pairs(part, setting)]
    except LookupError as missing:
        reason = str(missing.args[0])
        return answer | {"verdict": "not tested", "reason": reason, "pairs": []}
    pairs = [_answer(pair, len(compared)) for pair in compared]
    verdict = overall([pair["verdict"] for pair in pairs])
    deciding = [pair for pair in pairs if pair["verdict"] == verdict]
    weakest = min(deciding, key=_margin)
    return answer | {"verdict": verdict, "reason": "", "weakest": weakest, "pairs": pairs}


def _answer(pair: Pair, pairs: int) -> dict:
    decision = decide(pair.difference, pair.tolerance, pairs, pair.least_seeds)
    numbers = {
        "value": pair.difference.value,
        "se": pair.difference.se,
        "df": pair.difference.df,
        "low": decision.low,
        "high": decision.high,
        "level": decision.level,
        "tolerance": pair.tolerance,
        "as_stated": pair.as_stated,
    }
    return {
        "metric": pair.metric,
        "first": pair.first,
        "second": pair.second,
        "verdict": decision.verdict,
        "corrected_for": decision.pairs,
        "n_seeds": pair.difference.n_seeds,
        "n_rows": pair.difference.n_rows,
        "covers": pair.difference.covers,
    } | {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def _margin(pair: dict) -> float:
    """How many standard errors a pair lies above its tolerance; without an error, how much."""
    distance = pair["value"] - pair["tolerance"]
    return distance if pair["se"] is None else distance / (pair["se"] or 1e-12)


def _pairs(part: dict, setting: Setting) -> Iterator[Pair]:
    if "density" in part:
        modules = part["density"] == "module"
        yield from (_modules if modules else _layers)(part, setting)
        return
    metrics, has_pairs = setting.metrics, False
    methods = [None]
    if part.get("for_each") == "method":
        methods = list(dict.fromkeys(metrics.loc[metrics["selection"] != "", "method"]))
    for method in methods:
        fixed = {} if method is None else {"method": method}
        first, second = fixed | part["first"], fixed | part["second"]
        for pair in _cell_pairs(part, first, second, setting):
            has_pairs = True
            yield pair
    if not has_pairs:
        raise LookupError("no two cells to compare")


def _cell_pairs(part: dict, first: dict, second: dict, setting: Setting) -> Iterator[Pair]:
    stated = part["metric"]
    known = set(setting.metrics["metric"])
    judged = [x if (x := setting.judged_on.get(name, name)) in known else name for name in stated]
    sides = []
    for names in (judged, stated):
        tops = _cells(setting.metrics, first, second, names)
        if first.get("pick") == "best":
            tops = _picked(tops)
        sides.append((tops, _cells(setting.metrics, second, first, names)))
    (tops, bottoms), (stated_tops, stated_bottoms) = sides
    for (a, top), stated_top in zip(tops.items(), stated_tops.values(), strict=True):
        for b, bottom in bottoms.items():
            if a == b:
                continue
            gap = stated_top.totals().mean() - stated_bottoms[b].totals().mean()
            yield Pair(
                first=str(a),
                second=str(b),
                metric=" + ".join(judged),
                difference=difference_of(
                    top, bottom, setting.level, least_seeds=setting.least_seeds
                ),
                tolerance=part["tolerance"],
                as_stated=float(gap),
                least_seeds=setting.least_seeds,
            )


def _cells(
    metrics: pd.DataFrame, want: dict, other: dict, names: Sequence[str]
) -> dict[CellName, CellValues]:
    """Cells that fit `want`, each with the plain mean of the metrics `names`.

    `others` stands for every value but that of the other side. Raises LookupError for none.
    """
    fitting = metrics[metrics["metric"].isin(names) & (metrics["selection"] != "")]
    for key in ("method", "selection"):
        if key in want:
            same = fitting[key] == (other.get(key) if want[key] == OTHERS else want[key])
            fitting = fitting[~same if want[key] == OTHERS else same]
    if "ratio" in want:
        ratios = sorted(fitting["ratio"].dropna().unique())
        wanted = ratios[:1] if want["ratio"] == "least" else want["ratio"]
        fitting = fitting[fitting["ratio"].isin(wanted)]
    elif "default" in fitting:
        fitting = fitting[fitting["default"]]
    cells = {}
    for (method, selection, ratio), rows in fitting.groupby(CELL, sort=False, dropna=False):
        name = CellName(method, selection, () if pd.isna(ratio) else (float(ratio),))
        each = {metric: group for metric, group in rows.groupby("metric", sort=False)}
        if set(each) != set(names) or rows.groupby("seed").size().ne(len(names)).any():
            raise LookupError(f"{name} lacks one of {', '.join(names)}")
        cells[name] = averaged([_values(each[metric]) for metric in names])
    if not cells:
        about = " ".join(f"{key} {value}" for key, value in want.items() if key != "pick")
        raise LookupError(f"no cell with {', '.join(names)} of {about}")
    return cells


def _values(metric: pd.DataFrame) -> CellValues:
    seeds = metric["seed"].tolist()
    rows = dict(zip(seeds, metric["rows"], strict=True)) if "rows" in metric else None
    return cell_values(dict(zip(seeds, metric["value"], strict=True)), rows)


def _picked(cells: dict[CellName, CellValues]) -> dict[CellName, CellValues]:
    """For each method and selection the best ratio, picked on other seeds and rows than it is
    tested on."""
    of_selection: dict[CellName, dict[float, CellValues]] = {}
    for name, values in cells.items():
        same = dataclasses.replace(name, ratios=())
        of_selection.setdefault(same, {})[name.ratios[0]] = values
    result = {}
    for name, by_ratio in of_selection.items():
        first, *rest = by_ratio.values()
        seeds = [seed for seed in first.seeds if all(seed in other.seeds for other in rest)]
        if len(seeds) < 2:
            raise LookupError(f"{name}: a ratio is picked on other seeds, and there is no other")
        shared = {ratio: values.of_seeds(seeds) for ratio, values in by_ratio.items()}
        shapes = {
            tuple((part, x.shape) for part, x in sorted(values.parts.items()))
            for values in shared.values()
        }
        if len(shapes) > 1:
            shared = {ratio: values.without_rows() for ratio, values in shared.items()}
        best, picks = pick_then_test({ratio: values.parts for ratio, values in shared.items()})
        picked = dataclasses.replace(name, ratios=tuple(sorted(set(picks))))
        result[picked] = CellValues(tuple(seeds), best)
    return result


def _density_table(part: dict, setting: Setting) -> pd.DataFrame:
    if part["selection"] not in setting.densities:
        raise LookupError(f"no density table of {part['selection']}")
    return setting.densities[part["selection"]]


def _density_pair(part: dict, names: Sequence[str], samples: Sequence, paired: bool, setting):
    """The difference of two samples of densities of one mask, whose layers stand for rows."""
    if min(map(len, samples)) < 2:
        raise LookupError(f"{names[0]}, {names[1]}: fewer than two {part['density']}s on a side")
    blocks = [np.asarray(sample, dtype=np.float64)[None] for sample in samples]
    gap = difference(*blocks, setting.level, paired_rows=paired)
    covers = f"{sum(map(len, samples)) if not paired else len(samples[0])} parts of one mask"
    return Pair(
        first=names[0],
        second=names[1],
        metric=f"density by {part['density']}",
        difference=dataclasses.replace(gap, covers=covers),
        tolerance=part["tolerance"],
        as_stated=gap.value,
        least_seeds=1,
    )


def _modules(part: dict, setting: Setting) -> Iterator[Pair]:
    """Each kind of module in `above` and `below` against the ratio of the whole mask."""
    table = _density_table(part, setting)
    ratio = table["selected"].sum() / table["size"].sum()
    kinds = table["parameter"].map(module_of)
    whole = f"{part['selection']} (ratio {ratio:.3g})"
    for side, sign in (("above", 1), ("below", -1)):
        for kind in part[side]:
            own = table[kinds == kind]
            share = (own["selected"] / own["size"]).to_numpy()
            name = f"{part['selection']} ({kind})"
            samples = [share, np.full(len(share), ratio)][::sign]
            yield _density_pair(part, [name, whole][::sign], samples, True, setting)


def _layers(part: dict, setting: Setting) -> Iterator[Pair]:
    """The layers of relative depth `first` against those of `second`."""
    table = _density_table(part, setting)
    layer = table["parameter"].str.extract(r"\.(\d+)\.")[0].astype(float)
    sums = table.assign(layer=layer).dropna(subset="layer").groupby("layer")
    sums = sums[["selected", "size"]].sum()
    depth, share = (sums.index + 0.5) / len(sums), (sums["selected"] / sums["size"]).to_numpy()
    ranges = [part[side] for side in ("first", "second")]
    samples = [share[(depth >= low) & (depth < high)] for low, high in ranges]
    names = [f"{part['selection']} (layers {low:g} to {high:g})" for low, high in ranges]
    yield _density_pair(part, names, samples, False, setting)


TABLE = [
    "claim",
    "statement",
    "verdict",
    "pair that decides",
    "metric",
    "difference",
    "low",
    "high",
    "interval",
    "tolerance",
    "seeds",
    "rows",
    "covers",
    "pairs",
    "as stated",
]


def table(answers: list[dict]) -> pd.DataFrame:
    """One row a claim: its verdict, and the pair that decides with the interval that decided.

    `interval` says the interval's level and its correction. `as stated` is the difference of the
    metric in the claim's own words.
    """
    rows = []
    for answer in answers:
        pair = answer.get("weakest", {})
        rows.append(
            {
                "claim": answer["claim"],
                "statement": answer["text"],
                "verdict": answer["verdict"],
                "pair that decides": f"{pair['first']} - {pair['second']}"
                if pair
                else answer["reason"],
                "metric": pair.get("metric", ""),
                "difference": pair.get("value"),
                "interval": _interval_text(pair),
                "seeds": pair.get("n_seeds"),
                "rows": pair.get("n_rows"),
                "covers": pair.get("covers", ""),
                "pairs": len(answer["pairs"]),
                "as stated": pair.get("as_stated"),
            }
            | {key: pair.get(key) for key in ("low", "high", "tolerance")}
        )
    return pd.DataFrame(rows, columns=TABLE).astype({"seeds": "Int64", "rows": "Int64"})


def _interval_text(pair: dict) -> str:
    if not pair:
        return ""
    text = f"{100 * pair['level']:.4g} %"
    pairs = pair["corrected_for"]
    return text if pairs == 1 else f"{text} (Bonferroni, {pairs} pairs)"
