"""Rows of one split, checked, as rows.jsonl."""

# ruff: noqa: E402
from wagle.warm import hand_over

hand_over()

import json

from wagle import data, sources
from wagle.provenance import recorded

with recorded(snakemake) as part:
    params = json.loads(snakemake.params.data)
    role = params["role"]
    config = snakemake.config
    rows = sources.load_split(role, params["spec"], config["data"], config["data_dir"])
    data.write_rows(part.rows, rows)
    print(f"{role}: {len(rows)} rows from {params['sources']}")
