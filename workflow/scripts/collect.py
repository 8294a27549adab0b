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
    rows = []
    cells = json.loads(snakemake.params.cells)
    for name, path in zip(cells, snakemake.input.metrics, strict=True):
        cell = Cell.parse(name)
        about = {"experiment": experiment, "task": task} | {
            key: getattr(cell, key) for key in ("method", "selection", "ratio", "gamma", "seed")
        }
        tuned = {"tuned": cell.tuned} if "/tuned/" in "".join(cells) else {}
        for protocol, values in json.loads(Path(path).read_text(encoding="utf-8")).items():
            for metric, entry in values.items():
                numbers = {key: entry[key] for key in ("value", "se", "n")}
                rows.append(about | {"protocol": protocol, "metric": metric} | numbers | tuned)
    pd.DataFrame(rows).astype({"seed": "Int64"}).to_csv(part.metrics, index=False)
