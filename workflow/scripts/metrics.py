"""All protocols' metrics of one model, from its logs."""

# ruff: noqa: E402
from wagle.warm import hand_over

hand_over()

import json

from wagle import data, metrics, scoring
from wagle.provenance import recorded, write_json

with recorded(snakemake) as part:
    log, generations, _ = snakemake.input.log
    columns, rows = scoring.read_log(log), data.read_rows(generations)
    reference = scoring.read_log(snakemake.input.reference[0])
    protocols = json.loads(snakemake.params.protocols)
    write_json(part.metrics, {name: metrics.evaluate(name, columns, rows, reference) for name in protocols})
