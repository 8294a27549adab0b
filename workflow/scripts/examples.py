"""Examples: the same prompts answered by every model, side by side; and the refusal answers that PO draws from."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

import pandas as pd

from wagle.data.rows import read_rows
from wagle.experiment.cells import Cell
from wagle.reporting import examples, frames
from wagle.runtime.job import recorded

with recorded(snakemake) as part:
    cells, rows = json.loads(snakemake.params.cells), json.loads(snakemake.params.rows)
    files = [path for path in snakemake.input.answers if path.endswith("generations.jsonl")]
    names = [
        " ".join(frames.label(word) for word in (c.method, c.selection) if word)
        for c in map(Cell.parse, cells)
    ]
    table = examples.collect(
        {name: read_rows(path) for name, path in zip(names, files, strict=True)}, rows
    )
    table.to_csv(part.table, index=False)
    shown = examples.side_by_side(table)
    part.markdown.write_text(frames.markdown(shown), encoding="utf-8")
    part.latex.write_text(frames.latex(shown, ["l", "p{12cm}"]), encoding="utf-8")
    refusals = [path for path in snakemake.input.refusals if path.endswith("rows.jsonl")]
    answers = [row["text"] for path in refusals for row in read_rows(path)]
    frame = pd.DataFrame({"number": range(1, len(answers) + 1), "refusal answer": answers})
    frame.to_csv(part.refusals, index=False)
    part.refusals_markdown.write_text(frames.markdown(frame), encoding="utf-8")
    part.refusals_latex.write_text(frames.latex(frame, ["r", "p{12cm}"]), encoding="utf-8")
