"""Rows of one split, checked, as rows.jsonl."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

from wagle.data.rows import write_rows
from wagle.data.sources import load_split
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    params, config = json.loads(snakemake.params.data), snakemake.config
    role = params["role"]
    rows = load_split(role, params["spec"], config["data"], config["data_dir"])
    write_rows(outputs.rows, rows)
    print(f"{role}: {len(rows)} rows from {params['sources']}")
