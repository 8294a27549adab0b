"""One figure as PDF, SVG and PNG, with the numbers it draws."""

# ruff: noqa: E402
from wagle.warm import hand_over

hand_over()

import json

import pandas as pd

from wagle import figures, tables
from wagle.provenance import recorded

with recorded(snakemake) as part:
    name, show = snakemake.wildcards.figure, json.loads(snakemake.params.show)
    if name.startswith("density"):
        files = [path for path in snakemake.input if path.endswith("density.csv")]
        data = figures.densities(dict(zip(show["selections"], map(pd.read_csv, files), strict=True)), name)
    else:
        frame = tables.of_cells(tables.read_metrics(snakemake.input[0]), show["cells"])
        data = figures.sweep(tables.summarise(frame, by_ratio=True))
    data.to_csv(part.csv, index=False)
    figures.draw(name, data, show, {kind: getattr(part, kind) for kind in ("pdf", "svg", "png")})
