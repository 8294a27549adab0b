"""The paper's claims, answered from the collected metrics and the masks' densities."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

import pandas as pd

from wagle.reporting import claims, frames, tables
from wagle.runtime.files import write_json
from wagle.runtime.job import recorded

with recorded(snakemake) as part:
    stated, cells = json.loads(snakemake.params.claims), json.loads(snakemake.params.cells)
    metrics = tables.read_metrics(snakemake.input.metrics[0])
    metrics = metrics[metrics["protocol"] == "wagle"]
    parts = [
        tables.of_cells(metrics, cells[kind]).assign(default=kind == "table")
        for kind in ("table", "sweeps")
        if cells[kind]
    ]
    frame = pd.concat(parts).drop_duplicates(
        ["method", "selection", "ratio", "gamma", "seed", "metric"]
    )
    files = [path for path in snakemake.input.densities if path.endswith("density.csv")]
    densities = dict(
        zip(json.loads(snakemake.params.selections), map(pd.read_csv, files), strict=True)
    )
    answers = [
        claims.judge(claim, stated["level"], stated["least_seeds"], frame, densities)
        for claim in stated["claims"]
    ]
    write_json(
        part.answers,
        {"level": stated["level"], "least_seeds": stated["least_seeds"], "answers": answers},
    )
    table = claims.table(answers)
    table.to_csv(part.table, index=False)
    part.markdown.write_text(frames.markdown(table), encoding="utf-8")
    part.latex.write_text(
        frames.latex(table, ["l", "p{6cm}", "l", "p{5cm}", *"lrrrrrlr"]), encoding="utf-8"
    )
