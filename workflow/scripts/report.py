"""One HTML page with every table and figure of the experiment."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json
from pathlib import Path

import pandas as pd

from wagle.experiment import tasks
from wagle.reporting import report
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    about, inputs = json.loads(snakemake.params.about), dict(snakemake.input.items())
    examples = [pd.read_csv(inputs[n]) for n in ("examples", "refusals") if n in inputs]
    tuned = [pd.read_csv(inputs[n]) for n in ("points", "matched", "trials") if n in inputs]
    compared = {n: pd.read_csv(inputs[n]) for n in report.COMPARISONS if n in inputs}
    page = report.page(
        about,
        tasks.load(about["task"]).TASK,
        summaries=[pd.read_csv(path) for path in inputs["long"]],
        published=[pd.read_csv(path) for path in inputs["published"]],
        claims=pd.read_csv(inputs["claims"]),
        timing=pd.read_csv(inputs["timing"]),
        examples=examples,
        tuned=tuned,
        compared=compared,
        figures=[Path(path).read_text(encoding="utf-8") for path in inputs["figures"]],
    )
    outputs.report.write_text(page, encoding="utf-8")
