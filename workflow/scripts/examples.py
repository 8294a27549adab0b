"""The same prompts answered by every model, and the refusal answers that PO draws from."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

import pandas as pd

from wagle.data.rows import read_rows
from wagle.experiment.cells import Cell
from wagle.reporting import examples, frames
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    cells, rows = json.loads(snakemake.params.cells), json.loads(snakemake.params.rows)
    answers = {
        frames.cell_label(Cell.parse(cell)): read_rows(path)
        for cell, path in zip(cells, snakemake.input.answers, strict=True)
    }
    table = examples.collect(answers, rows)
    table.to_csv(outputs.table, index=False)
    by_prompt = examples.side_by_side(table)
    outputs.markdown.write_text(frames.markdown(by_prompt), encoding="utf-8")
    outputs.latex.write_text(frames.latex(by_prompt, ["l", "p{12cm}"]), encoding="utf-8")
    path = dict(snakemake.input.items()).get("refusals_rows")
    refusals = [row["text"] for row in read_rows(path)] if path else []
    numbers = range(1, len(refusals) + 1)
    frame = pd.DataFrame({"number": numbers, "refusal answer": refusals})
    frame.to_csv(outputs.refusals, index=False)
    outputs.refusals_markdown.write_text(frames.markdown(frame), encoding="utf-8")
    outputs.refusals_latex.write_text(frames.latex(frame, ["r", "p{12cm}"]), encoding="utf-8")
