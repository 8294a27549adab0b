"""Table 4: how long the selections take, from the records that the jobs wrote themselves.

Notable: it is a measurement, so unlike every other table it differs from run to run. Its jobs may
have shared their machine with others. A job's clock starts when its own code does, so the imports
of a warm start do not count.
"""

from pathlib import Path

import pandas as pd

from wagle.runtime.records import run_of

STAGES = ("gradients", "activations", "score", "mask")
FURTHER = ("row gradients", "curvature")  # shown where a selection has them


def seconds(manifest: str | Path) -> float:
    """Wall-clock seconds of the job behind `manifest`.

    Raises WagleError when its run record is missing, altered, or that of another job.
    """
    return run_of(Path(manifest))["seconds"]


def table(manifests: dict[str, dict[str, list[str]]]) -> pd.DataFrame:
    """One row per selection: minutes of each stage, of all stages together, and of unlearning.

    `manifests` maps selection -> stage (STAGES or unlearn) -> paths of manifests. A stage's time is
    the mean over its jobs. WAGLE needs two gradients, so the means of both sides are added.
    """
    rows = []
    further = [stage for stage in FURTHER if any(stage in stages for stages in manifests.values())]
    for selection, stages in manifests.items():
        row: dict = {"selection": selection}
        for stage in (*STAGES[:-2], *further, *STAGES[-2:]):
            sides: dict[str, list[float]] = {}
            for path in stages.get(stage, []):
                side = str(Path(path).parents[1]) if stage.endswith("gradients") else ""
                sides.setdefault(side, []).append(seconds(path))
            means = [sum(side) / len(side) for side in sides.values()]
            row[f"{stage} (min)"] = sum(means) / 60 if means else None
        minutes = [
            value for name, value in row.items() if name != "selection" and value is not None
        ]
        row["selection in all (min)"] = sum(minutes) if minutes else None
        unlearning = pd.Series([seconds(path) / 60 for path in stages["unlearn"]])
        row |= {
            "unlearning (min)": unlearning.mean(),
            "unlearning SE": unlearning.sem() if len(unlearning) > 1 else None,
            "runs": len(unlearning),
        }
        rows.append(row)
    return pd.DataFrame(rows)
