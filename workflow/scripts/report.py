"""One HTML page with every table and figure of the experiment."""

# ruff: noqa: E402
from wagle.warm import hand_over

hand_over()

import json
from pathlib import Path

from wagle import report
from wagle.provenance import recorded

with recorded(snakemake) as part:
    experiment, about, protocols, drawn = json.loads(snakemake.params.experiment)
    tables = [path for path in snakemake.input.tables if path.endswith(".md")]
    figures = [path for path in snakemake.input.figures if path.endswith(".svg")]
    page = report.page(
        experiment,
        about,
        {protocol: Path(path).read_text(encoding="utf-8") for protocol, path in zip(protocols, tables, strict=True)},
        {name: Path(path).read_text(encoding="utf-8") for name, path in zip(drawn, figures, strict=True)},
    )
    part.report.write_text(page, encoding="utf-8")
