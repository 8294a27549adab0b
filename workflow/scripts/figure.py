"""One figure as PDF, SVG and PNG, with the numbers it draws."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import importlib
import json

from wagle.reporting import plots
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    figure, params = importlib.import_module(snakemake.params.figure), snakemake.params.params
    params = json.loads(params)
    files = {name: paths for name, paths in snakemake.input.items() if name != "records"}
    data = figure.table(files, params)
    data.to_csv(outputs.csv, index=False)
    plots.save(
        figure, data, params, {kind: getattr(outputs, kind) for kind in ("pdf", "svg", "png")}
    )
