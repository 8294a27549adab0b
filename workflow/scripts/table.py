"""A task's main table: mean and standard error over seeds of each method and selection; and the same beside the published."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

from wagle.reporting import frames, published, tables
from wagle.runtime import assets
from wagle.runtime.job import recorded

with recorded(snakemake) as part:
    cells, task = json.loads(snakemake.params.cells), snakemake.params.task
    frame = tables.of_cells(tables.read_metrics(snakemake.input.metrics[0]), cells)
    summary = tables.summarise(frame[frame["protocol"] == snakemake.wildcards.protocol])
    summary.to_csv(part.long, index=False)
    layout = tables.layout(task, snakemake.wildcards.protocol)
    tables.wide(summary, layout).to_csv(part.wide, index=False)
    part.markdown.write_text(tables.markdown(summary, layout), encoding="utf-8")
    part.latex.write_text(tables.latex(summary, layout), encoding="utf-8")
    known = published.read(assets.path(f"published/{snakemake.params.published}.csv"))
    compared = published.beside(summary, known)
    compared.to_csv(part.published, index=False)
    part.published_markdown.write_text(frames.markdown(compared), encoding="utf-8")
