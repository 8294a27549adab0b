"""A task's metrics of one model, from its logs (tasks beyond TOFU)."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

from wagle.data.rows import read_rows
from wagle.evaluation import protocols, suites
from wagle.evaluation.interchange import read_json
from wagle.runtime.files import write_json
from wagle.runtime.job import recorded

with recorded(snakemake) as part:
    benchmarks, generations, _ = snakemake.input.log
    found = suites.evaluate(snakemake.params.task, read_json(benchmarks), read_rows(generations))
    write_json(part.metrics, {"wagle": protocols.without_rows(found)})
    write_json(part.rows, {"wagle": protocols.only_rows(found)})
