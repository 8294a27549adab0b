"""The paper's claims as statements over cells and masks, each answered: reproduced, not reproduced, undecided, or not tested.

wagle/assets/claims.yaml fixes every claim before a run: which cells are compared on which metric, and the tolerance, the smallest
difference that counts. A claim is a list of comparisons (`all_of`); each is "first is larger than second" for one or several
pairs of cells, all of which must hold.

    reproduced       the interval lies above 0 and the difference is at least the tolerance, for every pair
    not reproduced   for some pair the interval excludes differences as large as the tolerance
    undecided        anything else: more seeds or rows would tell
    not tested       the experiment has not the cells; the reason is given

A negative tolerance says that first is not worse than second by more than it: the interval must lie above the tolerance.
Intervals are Student's t: over seeds, paired, where both sides share `least_seeds`; else over rows, from the metrics' own
standard errors. Notable: "every pair holds" needs no correction for many pairs; "some pair fails" is corrected (Bonferroni).
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from wagle.errors import WagleError
from wagle.model.families import module_of

CELL = ["method", "selection", "ratio"]
OTHERS = "others"


class Difference(NamedTuple):
    """first - second, its standard error and degrees of freedom; `n` seeds, rows or weights behind it."""

    value: float
    se: float
    df: float
    n: int
    basis: str
    first: str
    second: str

    def interval(self, level: float) -> tuple[float, float]:
        from scipy import stats

        half = float(stats.t.ppf((1 + level) / 2, self.df)) * self.se if self.df > 0 else math.inf
        return self.value - half, self.value + half


def verdict(difference: Difference, tolerance: float, level: float, pairs: int = 1) -> str:
    """The answer of one pair out of `pairs`. Raises WagleError for a difference that is not finite."""
    if not math.isfinite(difference.value) or not math.isfinite(difference.se):
        raise WagleError(
            f"difference {difference.value} ± {difference.se} of {difference.first} and {difference.second}",
            "numbers",
        )
    low, _ = difference.interval(level)
    _, high = difference.interval(1 - (1 - level) / pairs)
    if high < tolerance:
        return "not reproduced"
    return (
        "reproduced" if low > min(0, tolerance) and difference.value >= tolerance else "undecided"
    )


def judge(
    claim: dict,
    level: float,
    least_seeds: int,
    metrics: pd.DataFrame,
    densities: dict[str, pd.DataFrame],
) -> dict:
    """One claim's answer: id, text, verdict, the weakest pair's difference, low, high, n, basis, and every pair.

    `metrics` is the collected table of the experiment (protocol wagle), `densities` maps a selection to its mask's density table.
    """
    answer = {"claim": claim["id"], "text": claim["text"]}
    try:
        found = [
            (d, part)
            for part in claim["all_of"]
            for d in _differences(part, least_seeds, metrics, densities)
        ]
    except LookupError as missing:
        return answer | {"verdict": "not tested", "reason": str(missing.args[0]), "pairs": []}
    pairs = []
    for difference, part in found:
        low, high = difference.interval(level)
        names = " + ".join(part["metric"]) if "metric" in part else f"density by {part['density']}"
        pairs.append({"metric": names, **difference._asdict(), "low": low, "high": high, "tolerance": part["tolerance"],
                      "verdict": verdict(difference, part["tolerance"], level, len(found))})  # fmt: skip
    verdicts = [pair["verdict"] for pair in pairs]
    overall = "reproduced" if set(verdicts) == {"reproduced"} else "undecided"
    overall = "not reproduced" if "not reproduced" in verdicts else overall
    weakest = min(
        pairs, key=lambda pair: (pair["value"] - pair["tolerance"]) / (pair["se"] or 1e-12)
    )
    return answer | {"verdict": overall, "reason": "", "weakest": weakest, "pairs": pairs}


def _differences(
    part: dict, least_seeds: int, metrics: pd.DataFrame, densities: dict
) -> list[Difference]:
    if "density" in part:
        return [_density(part, densities)]
    found = []
    methods = (
        list(dict.fromkeys(metrics.loc[metrics["selection"] != "", "method"]))
        if part.get("for_each") == "method"
        else [None]
    )
    for method in methods:
        fixed = {} if method is None else {"method": method}
        first, second = fixed | part["first"], fixed | part["second"]
        tops = _groups(metrics, first, second, part["metric"])
        bottoms = _groups(metrics, second, first, part["metric"])
        if part["first"].get("pick") == "best":
            best = max(tops, key=lambda name: tops[name]["value"].mean())
            tops = {best: tops[best]}
        found += [
            _pair(a, tops[a], b, bottoms[b], least_seeds) for a in tops for b in bottoms if a != b
        ]
    if not found:
        raise LookupError("no two cells to compare")
    return found


def _groups(
    metrics: pd.DataFrame, want: dict, other: dict, names: list[str]
) -> dict[str, pd.DataFrame]:
    """Cells that fit `want`, by name: value and se per seed. `others` stands for every value but that of the other side."""
    chosen = metrics[metrics["metric"].isin(names) & (metrics["selection"] != "")]
    for key in ("method", "selection"):
        if key in want:
            fits = (
                chosen[key] != other.get(key) if want[key] == OTHERS else chosen[key] == want[key]
            )
            chosen = chosen[fits]
    if "ratio" in want:
        ratios = sorted(chosen["ratio"].dropna().unique())
        wanted = ratios[:1] if want["ratio"] == "least" else want["ratio"]
        chosen = chosen[chosen["ratio"].isin(wanted)]
    elif "default" in chosen:
        chosen = chosen[chosen["default"]]
    groups = {}
    for key, cell in chosen.groupby(CELL, sort=False, dropna=False):
        by_seed = cell.groupby("seed")
        if (by_seed.size() != len(names)).any():
            raise LookupError(f"{' '.join(map(str, key))} lacks one of {', '.join(names)}")
        se = by_seed["se"].apply(
            lambda x: math.sqrt((x**2).sum()) / len(x) if x.notna().all() else math.nan
        )
        method, selection, ratio = key
        name = f"{method}/{selection}" + ("" if pd.isna(ratio) else f"/ratio-{ratio:g}")
        groups[name] = pd.DataFrame(
            {"value": by_seed["value"].mean(), "se": se, "n": by_seed["n"].min()}
        )
    if not groups:
        about = " ".join(f"{key} {value}" for key, value in want.items() if key != "pick")
        raise LookupError(f"no cell with {', '.join(names)} of {about}")
    return groups


def _pair(
    first: str, a: pd.DataFrame, second: str, b: pd.DataFrame, least_seeds: int
) -> Difference:
    common = a.index.intersection(b.index)
    differences = (a.loc[common, "value"] - b.loc[common, "value"]).to_numpy()
    if len(common) >= least_seeds:
        se = float(differences.std(ddof=1)) / math.sqrt(len(common))
        return Difference(
            float(differences.mean()), se, len(common) - 1, len(common), "seeds", first, second
        )
    value = a["value"].mean() - b["value"].mean()
    se = math.sqrt((a["se"] ** 2).mean() + (b["se"] ** 2).mean())
    rows = int(min(a["n"].min(), b["n"].min()))
    if math.isnan(se):
        raise LookupError(
            f"{first} and {second} have neither {least_seeds} common seeds nor standard errors over rows"
        )
    return Difference(float(value), se, rows - 1, rows, "rows", first, second)


def _density(part: dict, densities: dict[str, pd.DataFrame]) -> Difference:
    """Mean density of the parameters (or layers) named by `first` less that of `second`; Welch's interval over them."""
    if part["selection"] not in densities:
        raise LookupError(f"no density table of {part['selection']}")
    table = densities[part["selection"]]
    if part["density"] == "module":
        groups = table.assign(group=[module_of(name) for name in table["parameter"]])
        sides = [
            (groups.loc[groups["group"].isin(part[side]), ["selected", "size"]])
            for side in ("first", "second")
        ]
        samples = [(side["selected"] / side["size"]).to_numpy() for side in sides]
    else:
        layer = table["parameter"].str.extract(r"\.(\d+)\.")[0].astype(float)
        sums = (
            table.assign(layer=layer)
            .dropna(subset="layer")
            .groupby("layer")[["selected", "size"]]
            .sum()
        )
        depth = (sums.index + 0.5) / len(sums)
        share = (sums["selected"] / sums["size"]).to_numpy()
        samples = [
            share[(depth >= part[side][0]) & (depth < part[side][1])]
            for side in ("first", "second")
        ]
    if min(map(len, samples)) < 2:
        raise LookupError(f"fewer than two {part['density']}s on a side")
    variances = [float(np.var(x, ddof=1)) / len(x) for x in samples]
    se, total = math.sqrt(sum(variances)), sum(variances)
    df = (
        total**2 / sum(v**2 / (len(x) - 1) for v, x in zip(variances, samples, strict=True))
        if total
        else min(map(len, samples)) - 1
    )
    names = [
        f"{part['selection']} ({', '.join(map(str, part[side]))})" for side in ("first", "second")
    ]
    return Difference(
        float(samples[0].mean() - samples[1].mean()),
        se,
        df,
        sum(map(len, samples)),
        "weights",
        *names,
    )


TABLE = [
    "claim",
    "statement",
    "verdict",
    "weakest pair",
    "metric",
    "difference",
    "low",
    "high",
    "tolerance",
    "n",
    "basis",
    "pairs",
]


def table(answers: list[dict]) -> pd.DataFrame:
    """One row a claim: verdict, and the pair that decides it with its interval, n and tolerance."""
    rows = []
    for answer in answers:
        pair = answer.get("weakest", {})
        names = f"{pair['first']} - {pair['second']}" if pair else answer["reason"]
        about = {"claim": answer["claim"], "statement": answer["text"], "weakest pair": names}
        numbers = {key: pair.get(key) for key in ("low", "high", "tolerance", "n")}
        rows.append(
            about
            | numbers
            | {
                "verdict": answer["verdict"],
                "metric": pair.get("metric", ""),
                "difference": pair.get("value"),
                "basis": pair.get("basis", ""),
                "pairs": len(answer["pairs"]),
            }
        )
    return pd.DataFrame(rows, columns=TABLE).astype({"n": "Int64"})
