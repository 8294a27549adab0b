"""Table 4: running time of the selections, from the jobs' own records."""

# ruff: noqa: E402
from wagle.warm import hand_over

hand_over()

import json

from wagle import plain, timing
from wagle.provenance import recorded

with recorded(snakemake) as part:
    table = timing.table(json.loads(snakemake.params.jobs))
    table["selection"] = table["selection"].map(plain.label)
    table.to_csv(part.table, index=False)
    part.markdown.write_text(plain.markdown(table), encoding="utf-8")
    part.latex.write_text(plain.latex(table), encoding="utf-8")
