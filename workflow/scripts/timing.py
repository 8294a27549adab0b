"""Table 4: running time of the selections, from the jobs' own records."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

from wagle.reporting import frames, timing
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    table = timing.table(json.loads(snakemake.params.jobs))
    table["selection"] = table["selection"].map(frames.label)
    table.to_csv(outputs.table, index=False)
    outputs.markdown.write_text(frames.markdown(table), encoding="utf-8")
    outputs.latex.write_text(frames.latex(table), encoding="utf-8")
