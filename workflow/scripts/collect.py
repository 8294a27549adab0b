"""Every cell's metrics in one long table."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json
from pathlib import Path

import pandas as pd

from wagle.experiment.cells import Cell
from wagle.runtime.job import recorded

with recorded(snakemake) as part:
    experiment, task = json.loads(snakemake.params.experiment)
    files = [path for path in snakemake.input if path.endswith("metrics.json")]
    rows = []
    for name, path in zip(json.loads(snakemake.params.cells), files, strict=True):
        cell = Cell.parse(name)
        about = {
            key: getattr(cell, key) for key in ("method", "selection", "ratio", "gamma", "seed")
        }
        for protocol, values in json.loads(Path(path).read_text(encoding="utf-8")).items():
            for metric, entry in values.items():
                row = (
                    {"experiment": experiment, "task": task}
                    | about
                    | {"protocol": protocol, "metric": metric}
                )
                rows.append(row | {key: entry[key] for key in ("value", "se", "n")})
    pd.DataFrame(rows).astype({"seed": "Int64"}).to_csv(part.metrics, index=False)
