"""Every cell's metrics in one long table."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json
from pathlib import Path

import pandas as pd

from wagle.experiment.cells import Cell
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    experiment, task = json.loads(snakemake.params.experiment)
    rows = []
    cells = json.loads(snakemake.params.cells)
    for name, path in zip(cells, snakemake.input.metrics, strict=True):
        cell = Cell.parse(name)
        columns = {"experiment": experiment, "task": task} | {
            key: getattr(cell, key) for key in ("method", "selection", "ratio", "gamma", "seed")
        }
        for protocol, values in json.loads(Path(path).read_text(encoding="utf-8")).items():
            for metric, entry in values.items():
                numbers = {key: entry[key] for key in ("value", "se", "n")}
                rows.append(columns | {"protocol": protocol, "metric": metric} | numbers)
    pd.DataFrame(rows).astype({"seed": "Int64"}).to_csv(outputs.metrics, index=False)
