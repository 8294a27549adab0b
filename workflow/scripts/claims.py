"""The paper's claims, answered from the collected metrics and the masks' densities."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

import pandas as pd

from wagle.reporting import claims, frames, matched, tables, tuning
from wagle.runtime.files import write_json
from wagle.runtime.job import recorded

KEYS = ["method", "selection", "ratio", "gamma", "seed", "metric"]

with recorded(snakemake) as part:
    stated, cells = json.loads(snakemake.params.claims), json.loads(snakemake.params.cells)
    metrics = tables.read_metrics(snakemake.input.metrics)
    metrics = metrics[metrics["protocol"] == "wagle"]
    groups = [
        tables.of_cells(metrics, cells[kind]).assign(default=kind == "table")
        for kind in ("table", "sweeps")
        if cells[kind]
    ]
    frame = pd.concat(groups).drop_duplicates(KEYS)
    selections = json.loads(snakemake.params.selections)
    density = map(pd.read_csv, snakemake.input.densities)
    densities = dict(zip(selections, density, strict=True))
    level, least_seeds = stated["level"], stated["least_seeds"]
    answers = [
        claims.judge(claim, level, least_seeds, frame, densities) for claim in stated["claims"]
    ]
    compared = snakemake.input.get("matched")
    answers = tuning.noted(answers, stated["claims"], tuned=bool(compared))
    write_json(part.answers, {"level": level, "least_seeds": least_seeds, "answers": answers})
    table = claims.table(answers)
    if compared:
        table = matched.beside(table, pd.read_csv(compared))
    table.to_csv(part.table, index=False)
    part.markdown.write_text(frames.markdown(table), encoding="utf-8")
    columns = ["l", "p{6cm}", "l", "p{5cm}", *"lrrrrrlr", *["p{3cm}"] * bool(compared)]
    part.latex.write_text(frames.latex(table, columns), encoding="utf-8")
