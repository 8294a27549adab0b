"""One figure as PDF, SVG and PNG, with the numbers it draws."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

import pandas as pd

from wagle.experiment.cells import Cell
from wagle.reporting import figures, tables
from wagle.runtime.files import read_json
from wagle.runtime.job import recorded

with recorded(snakemake) as part:
    name, show = snakemake.wildcards.figure, json.loads(snakemake.params.show)
    if name.startswith("density"):
        files = [path for path in snakemake.input if path.endswith("density.csv")]
        data = figures.densities(
            dict(zip(show["selections"], map(pd.read_csv, files), strict=True)), name
        )
    else:
        frame = tables.of_cells(tables.read_metrics(snakemake.input[0]), show["cells"])
        if name == "gamma_sweep":
            norms = [
                read_json(path, strict=False)["norm"]
                for path in snakemake.input
                if path.endswith("stats.json")
            ]
            data = figures.gammas(tables.summarise(frame, ("gamma",)), norms, show["utility"])
        elif name == "precision":
            files = [path for path in snakemake.input if path.endswith("moved.json")]
            runs = [
                (Cell.parse(cell), read_json(path, strict=False))
                for cell, path in zip(show["cells"], files, strict=True)
            ]
            moved = [
                {"method": c.method, "selection": c.selection, "share": record["share_moved"]}
                for c, record in runs
            ]
            data = figures.precisions(
                tables.summarise(frame), pd.DataFrame(moved), show["of"], show["utility"]
            )
        else:
            data = figures.sweep(tables.summarise(frame, ("ratio",)), show["utility"])
    data.to_csv(part.csv, index=False)
    figures.draw(name, data, show, {kind: getattr(part, kind) for kind in ("pdf", "svg", "png")})
