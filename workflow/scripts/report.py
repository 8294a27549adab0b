"""One HTML page with every table and figure of the experiment."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json
from pathlib import Path

from wagle.reporting import report
from wagle.runtime.job import recorded


def read(paths, end):
    return [Path(path).read_text(encoding="utf-8") for path in paths if path.endswith(end)]


with recorded(snakemake) as part:
    experiment, task, about, protocols, drawn = json.loads(snakemake.params.experiment)
    tables = read(snakemake.input.tables, ".md")
    page = report.page(
        experiment, task, about,
        {protocol: (tables[2 * i], tables[2 * i + 1]) for i, protocol in enumerate(protocols)},
        dict(zip(drawn, read(snakemake.input.figures, ".svg"), strict=True)),
        claims=read(snakemake.input.claims, ".md")[0], timing=read(snakemake.input.timing, ".md")[0],
        examples=read(snakemake.input.examples, ".md"),
    )  # fmt: skip
    part.report.write_text(page, encoding="utf-8")
