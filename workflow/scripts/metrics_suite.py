"""A task's metrics of one model, from its logs (tasks beyond TOFU)."""

# ruff: noqa: E402
from wagle.warm import hand_over

hand_over()

from wagle import data, protocols, suites
from wagle.interchange import read_json
from wagle.provenance import recorded, write_json

with recorded(snakemake) as part:
    benchmarks, generations, _ = snakemake.input.log
    found = suites.evaluate(snakemake.params.task, read_json(benchmarks), data.read_rows(generations))
    write_json(part.metrics, {"wagle": protocols.without_rows(found)})
    write_json(part.rows, {"wagle": protocols.only_rows(found)})
