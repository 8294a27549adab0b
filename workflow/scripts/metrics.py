"""One model's metrics under every protocol, each from the logs in its own template."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

from wagle.data.rows import read_rows
from wagle.evaluation import protocols, scoring
from wagle.experiment import tasks
from wagle.runtime.files import LARGE_LIMIT, read_json, write_json
from wagle.runtime.job import recorded

READERS = {
    "tokens": ("scores", scoring.read_log),
    "reference": ("reference", scoring.read_log),
    "generations": ("generations", lambda path, _: read_rows(path)),
    "benchmarks": (
        "benchmarks",
        lambda path, _: read_json(path, limit=LARGE_LIMIT, strict=False),
    ),
}

with recorded(snakemake) as outputs:
    task = tasks.load(snakemake.params.task)
    files = {
        name: [paths] if isinstance(paths, str) else list(paths)
        for name, paths in snakemake.input.items()
        if name != "records"
    }
    templates, results = dict(json.loads(snakemake.params.protocols)), {}
    for number, template in enumerate(json.loads(snakemake.params.templates)):
        logs = {READERS[name][0]: READERS[name][1](files[name][number], template) for name in files}
        names = [name for name, own in templates.items() if own == template]
        results |= {name: task.metrics(logs, name) for name in names}
    results = {name: results[name] for name in templates}
    summary = {name: protocols.without_rows(result) for name, result in results.items()}
    rows = {name: protocols.only_rows(result) for name, result in results.items()}
    write_json(outputs.metrics, summary)
    write_json(outputs.rows, rows)
