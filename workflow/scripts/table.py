"""A task's main table: mean and standard error over seeds; and the same beside the published."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

from wagle.experiment import tasks
from wagle.reporting import frames, published, tables
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    cells, task = json.loads(snakemake.params.cells), tasks.load(snakemake.params.task).TASK
    protocol = snakemake.wildcards.protocol
    frame = tables.of_cells(tables.read_metrics(snakemake.input.metrics), cells)
    summary = tables.summarise(frame[frame["protocol"] == protocol])
    summary.to_csv(outputs.long, index=False)
    layout = task.layouts[protocol]
    tables.wide(summary, layout).to_csv(outputs.wide, index=False)
    outputs.markdown.write_text(tables.markdown(summary, layout, task.best), encoding="utf-8")
    outputs.latex.write_text(tables.latex(summary, layout, task.best), encoding="utf-8")
    compared = published.beside(summary, published.of_task(task))
    compared.to_csv(outputs.published, index=False)
    outputs.published_markdown.write_text(frames.markdown(compared), encoding="utf-8")
