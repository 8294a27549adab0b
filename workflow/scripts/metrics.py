"""All protocols' metrics of one model, from its logs."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

from wagle.data.rows import read_rows
from wagle.evaluation import protocols, scoring
from wagle.runtime.files import write_json
from wagle.runtime.job import recorded

with recorded(snakemake) as part:
    log, generations, _ = snakemake.input.log
    columns, rows = scoring.read_log(log), read_rows(generations)
    reference = scoring.read_log(snakemake.input.reference[0])
    names = json.loads(snakemake.params.protocols)
    found = {name: protocols.evaluate(name, columns, rows, reference) for name in names}
    write_json(
        part.metrics, {name: protocols.without_rows(result) for name, result in found.items()}
    )
    write_json(part.rows, {name: protocols.only_rows(result) for name, result in found.items()})
