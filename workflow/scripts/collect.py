"""Every cell's metrics in one long table, with the share of all weights that the cell updates."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json
from pathlib import Path

import pandas as pd

from wagle.experiment.cells import BASELINES, Cell
from wagle.runtime.files import read_json
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    experiment, task = json.loads(snakemake.params.experiment)
    rows = []
    cells = json.loads(snakemake.params.cells)
    updated = [name for name in cells if name not in BASELINES]
    moved = dict(zip(updated, map(read_json, snakemake.input.moved), strict=True))
    for name, path in zip(cells, snakemake.input.metrics, strict=True):
        cell = Cell.parse(name)
        columns = {"experiment": experiment, "task": task} | {
            key: getattr(cell, key) for key in ("method", "selection", "ratio", "gamma", "seed")
        }
        if name in moved:
            selected, frozen = moved[name]["selected"], moved[name]["frozen"]
            columns["share_updated"] = selected / (selected + frozen)
        for protocol, values in json.loads(Path(path).read_text(encoding="utf-8")).items():
            for metric, entry in values.items():
                numbers = {key: entry[key] for key in ("value", "se", "n")}
                rows.append(columns | {"protocol": protocol, "metric": metric} | numbers)
    pd.DataFrame(rows).astype({"seed": "Int64"}).to_csv(outputs.metrics, index=False)
