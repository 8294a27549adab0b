"""The paper's claims, answered from the collected metrics and the masks' densities."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

import pandas as pd

from wagle.reporting import claims, frames, tables
from wagle.runtime.files import write_json
from wagle.runtime.job import recorded

KEYS = ["method", "selection", "ratio", "gamma", "seed", "metric"]

with recorded(snakemake) as outputs:
    stated, cells = json.loads(snakemake.params.claims), json.loads(snakemake.params.cells)
    metrics = tables.read_metrics(snakemake.input.metrics)
    metrics = metrics[metrics["protocol"] == "wagle"]
    groups = [
        tables.of_cells(metrics, cells[kind]).assign(default=kind == "table")
        for kind in ("table", "sweeps")
        if cells[kind]
    ]
    files = dict(zip(cells["rows"], snakemake.input.rows, strict=True))
    frame = tables.with_rows(pd.concat(groups).drop_duplicates(KEYS), files)
    selections = json.loads(snakemake.params.selections)
    density = map(pd.read_csv, snakemake.input.densities)
    densities = dict(zip(selections, density, strict=True))
    head = {key: stated[key] for key in ("level", "least_seeds", "judged_on")}
    setting = claims.Setting(metrics=frame, densities=densities, **head)
    answers = [claims.judge(claim, setting) for claim in stated["claims"]]
    write_json(outputs.answers, head | {"answers": answers})
    table = claims.table(answers)
    table.to_csv(outputs.table, index=False)
    outputs.markdown.write_text(frames.markdown(table), encoding="utf-8")
    columns = ["l", "p{5cm}", "p{3cm}", "p{4cm}", *"lrrr", "p{2cm}", *"rrr", "p{3cm}", *"rr"]
    outputs.latex.write_text(frames.latex(table, columns), encoding="utf-8")
