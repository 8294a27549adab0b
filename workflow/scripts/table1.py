"""Table 1: methods by selections, mean and standard error over seeds."""

# ruff: noqa: E402
from wagle.warm import hand_over

hand_over()

import json

from wagle import tables
from wagle.provenance import recorded

with recorded(snakemake) as part:
    frame = tables.read_metrics(snakemake.input[0])
    frame = tables.of_cells(frame, json.loads(snakemake.params.cells))
    summary = tables.summarise(frame[frame["protocol"] == snakemake.wildcards.protocol])
    summary.to_csv(part.long, index=False)
    layout = tables.LAYOUTS[snakemake.wildcards.protocol]
    tables.wide(summary, layout).to_csv(part.wide, index=False)
    part.markdown.write_text(tables.markdown(summary, layout), encoding="utf-8")
    part.latex.write_text(tables.latex(summary, layout), encoding="utf-8")
