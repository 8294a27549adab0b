"""A task's main table: mean and standard error over seeds; beside the published; differences."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

import pandas as pd

from wagle.experiment import tasks
from wagle.reporting import differences, frames, published, tables, tuning
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    cells, task = json.loads(snakemake.params.cells), tasks.load(snakemake.params.task).TASK
    protocol = snakemake.wildcards.protocol
    frame = tables.of_cells(tables.read_metrics(snakemake.input.metrics), cells)
    frame = frame[frame["protocol"] == protocol]
    summary = tables.summarise(frame)
    if points := snakemake.input.get("points"):
        summary = tuning.with_points(summary, pd.read_csv(points))
    summary.to_csv(outputs.long, index=False)
    layout = tables.present(summary, task.layouts[protocol], task.optional)
    tables.wide(summary, layout).to_csv(outputs.wide, index=False)
    options = (summary, layout, task.best, task.lower_is_better)
    outputs.markdown.write_text(tables.markdown(*options), encoding="utf-8")
    outputs.latex.write_text(tables.latex(*options), encoding="utf-8")
    files = dict(zip(cells, snakemake.input.rows, strict=True))
    compared = differences.table(tables.with_rows(frame, files), task.best)
    compared.to_csv(outputs.differences, index=False)
    outputs.differences_markdown.write_text(frames.markdown(compared), encoding="utf-8")
    compared = published.beside(summary, published.of_task(task))
    compared.to_csv(outputs.published, index=False)
    outputs.published_markdown.write_text(frames.markdown(compared), encoding="utf-8")
