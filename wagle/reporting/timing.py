"""Table 4: how long the selections take, from the records that the jobs wrote themselves.

Notable: a measurement of this very run, so unlike every other table it differs from run to run; its jobs may have shared
their machine with others. A warm start's imports are not in it: a job's clock starts when its own code does.
"""

from pathlib import Path

import pandas as pd

from wagle.runtime.records import run_of

STAGES = ("gradients", "activations", "score", "mask")


def seconds(manifest: str | Path) -> float:
    """Wall seconds of the job behind `manifest`. Raises WagleError when its run record is missing, altered or another's."""
    return run_of(Path(manifest))["seconds"]


def table(jobs: dict[str, dict[str, list[str]]]) -> pd.DataFrame:
    """One row a selection: minutes of each stage (mean over its jobs), of the selection in all, and of unlearning.

    `jobs` maps selection -> stage (STAGES or unlearn) -> manifests. A mask needs one job of each of its stages, WAGLE two
    gradients, so the means of stages add up, gradients counted once per side.
    """
    rows = []
    for selection, stages in jobs.items():
        row: dict = {"selection": selection}
        for stage in STAGES:
            sides: dict[str, list[float]] = {}
            for path in stages.get(stage, []):
                sides.setdefault(
                    str(Path(path).parents[1]) if stage == "gradients" else "", []
                ).append(seconds(path))
            row[f"{stage} (min)"] = (
                sum(sum(x) / len(x) for x in sides.values()) / 60 if sides else None
            )
        found = [row[f"{stage} (min)"] for stage in STAGES if row[f"{stage} (min)"] is not None]
        row["selection in all (min)"] = sum(found) if found else None
        took = pd.Series([seconds(path) / 60 for path in stages["unlearn"]])
        row |= {
            "unlearning (min)": took.mean(),
            "unlearning SE": took.sem() if len(took) > 1 else None,
            "runs": len(took),
        }
        rows.append(row)
    return pd.DataFrame(rows)
