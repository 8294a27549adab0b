"""A task's metrics of one model, from its logs (tasks beyond TOFU)."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

from wagle.data.rows import read_rows
from wagle.evaluation import protocols, suites
from wagle.runtime.files import LARGE_LIMIT, read_json, write_json
from wagle.runtime.job import recorded

with recorded(snakemake) as part:
    benchmarks, generations, _ = snakemake.input.log
    answers = read_json(benchmarks, limit=LARGE_LIMIT, strict=False)
    found = suites.evaluate(snakemake.params.task, answers, read_rows(generations))
    write_json(part.metrics, {"wagle": protocols.without_rows(found)})
    write_json(part.rows, {"wagle": protocols.only_rows(found)})
