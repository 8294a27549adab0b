"""One model's metrics under every protocol, from its logs."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

from wagle.data.rows import read_rows
from wagle.evaluation import protocols, scoring
from wagle.experiment import tasks
from wagle.runtime.files import LARGE_LIMIT, read_json, write_json
from wagle.runtime.job import recorded


def read_benchmarks(path):
    return read_json(path, limit=LARGE_LIMIT, strict=False)


READERS = {
    "tokens": ("scores", scoring.read_log),
    "reference": ("reference", scoring.read_log),
    "generations": ("generations", read_rows),
    "benchmarks": ("benchmarks", read_benchmarks),
}

with recorded(snakemake) as outputs:
    task = tasks.load(snakemake.params.task)
    logs = {
        READERS[name][0]: READERS[name][1](path)
        for name, path in snakemake.input.items()
        if name != "records"
    }
    names = json.loads(snakemake.params.protocols)
    results = {name: task.metrics(logs, name) for name in names}
    summary = {name: protocols.without_rows(result) for name, result in results.items()}
    rows = {name: protocols.only_rows(result) for name, result in results.items()}
    write_json(outputs.metrics, summary)
    write_json(outputs.rows, rows)
