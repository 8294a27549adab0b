"""The tuning shown: every trial, the points that were picked, and notes of them elsewhere.

Numbers are those of the tuning seeds and rows, under protocol wagle. Reported cells have others.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from wagle.evaluation.trials import Rule
from wagle.experiment.cells import BASELINES, Cell, selection_id
from wagle.reporting.tables import POINT

NOTE = "baselines not tuned"


def trials_table(
    cells: Sequence[str], metrics: Sequence[Mapping], rule: Rule, points: Sequence[Mapping]
) -> pd.DataFrame:
    """One row a model, baselines first: its point, both metrics of the rule with standard errors
    over rows, whether it keeps the least value, and whether its point was picked."""
    least = {point["group"]: point["least"] for point in points}
    picked = {(point["group"], point["ratio"], point["lr"]) for point in points}
    rows = []
    for name, found in zip(cells, metrics, strict=True):
        cell = Cell.parse(name)
        baseline = cell.method in BASELINES
        line = {
            "method": cell.method,
            "selection": selection_id(cell.selection, cell.gamma),
            "ratio": cell.ratio,
            "lr": cell.lr,
            "seed": cell.seed,
        }
        for metric in rule.metrics:
            line |= {metric: found[metric]["value"], f"{metric} SE": found[metric]["se"]}
        line["rows"] = min(found[metric]["n"] for metric in rule.metrics)
        kept = None if baseline else found[rule.kept]["value"] >= least[cell.group]
        line["keeps"] = {True: "yes", False: "no", None: ""}[kept]
        is_picked = not baseline and (cell.group, cell.ratio, cell.lr) in picked
        rows.append(line | {"picked": "yes" if is_picked else ""})
    return pd.DataFrame(rows).astype({"seed": "Int64"})


def points_table(points: Sequence[Mapping], rule: Rule) -> pd.DataFrame:
    """One row a method and selection: its picked point, out of how many, and what to know of it."""
    rows = []
    for point in points:
        method, _, selection = point["group"].partition("/")
        remarks = [] if point["met"] else [f"no trial keeps {rule.kept} of {point['least']:.3g}"]
        remarks += [f"{end} of the grid" for end in point["ends"]]
        rows.append(
            {
                "method": method,
                "selection": selection.partition("@")[0],
                "lr": point["lr"],
                "ratio": point["ratio"],
                "points": point["points"],
                "seeds": len(point["seeds"]),
                **point["metrics"],
                f"least {rule.kept}": point["least"],
                "remarks": "; ".join(remarks),
            }
        )
    return pd.DataFrame(rows).astype({"ratio": float})


def point_text(lr: float, ratio: float | None) -> str:
    """A point in words, such as `lr 0.0006, ratio 0.8`."""
    return f"lr {lr:g}" + ("" if ratio is None or pd.isna(ratio) else f", ratio {ratio:g}")


def with_points(summary: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """`summary` of the main table with the column POINT: each row's picked point, or nothing."""
    texts = {
        (row.method, row.selection): point_text(row.lr, row.ratio)
        for row in points.itertuples(index=False)
    }
    keys = zip(summary["method"], summary["selection"], strict=True)
    return summary.assign(**{POINT: [texts.get(key, "") for key in keys]})


def noted(answers: Sequence[dict], claims: Sequence[Mapping], tuned: bool) -> list[dict]:
    """`answers` with a note in each verdict that rests on cells whose points were not tuned.

    These are all cells without tuning; with it, those of sweeps over fixed ratios. Densities of
    masks and claims that were not tested have no note.
    """
    result = []
    for answer, claim in zip(answers, claims, strict=True):
        parts = [part for part in claim["all_of"] if "metric" in part]
        sweeps = any("ratio" in part[side] for part in parts for side in ("first", "second"))
        untuned = parts and answer["verdict"] != "not tested" and (not tuned or sweeps)
        note = f" ({NOTE})" if untuned else ""
        result.append(answer | {"verdict": answer["verdict"] + note})
    return result
