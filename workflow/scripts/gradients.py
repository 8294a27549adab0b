"""Gradient of the forget loss, or of the retain loss on rows drawn at random, one per forget row."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

import numpy as np
import torch

from wagle.attribution.gradients import accumulate
from wagle.data.encoding import encode_rows
from wagle.data.rows import read_rows
from wagle.model import checkpoints, tensors
from wagle.runtime.files import write_json
from wagle.runtime.job import recorded

with recorded(snakemake) as part:
    torch.set_num_threads(snakemake.threads)
    params, wildcards = json.loads(snakemake.params.config), snakemake.wildcards
    options = params["attribution"]
    files = [path for path in snakemake.input.rows if path.endswith("rows.jsonl")]
    rows, refusals = read_rows(files[0]), None
    if wildcards.side == "retain":
        retain = read_rows(files[1])
        rng = np.random.default_rng([int(wildcards.draw.removeprefix("seed-")), 3])
        picks = rng.choice(len(retain), size=len(rows), replace=len(retain) < len(rows))
        rows = [retain[i] for i in sorted(picks)]
    elif options["forget_labels"] == "refusal":
        refusals = [row["text"] for row in read_rows(files[-1])]
    checkpoint = snakemake.input.model[0]
    model, tokenizer = (
        checkpoints.load(checkpoint, options["precision"]),
        checkpoints.load_tokenizer(checkpoint),
    )
    encoded = encode_rows(tokenizer, rows, refusals=refusals, **params["encoding"])
    sums, loss = accumulate(
        model, encoded, tokenizer.pad_token_id, options["token_budget"], options["reduction"],
        activation_checkpointing=snakemake.config["attribution"].get("activation_checkpointing", False),
    )  # fmt: skip
    norm = float(torch.stack([g.double().square().sum() for g in sums.values()]).sum().sqrt())
    shapes = {name: list(g.shape) for name, g in sums.items()}
    tensors.write(
        part.gradients,
        shapes,
        torch.float32,
        sums.items(),
        {"reduction": options["reduction"], "rows": str(len(rows))},
    )
    write_json(
        part.stats,
        {"rows": len(rows), "loss": loss, "norm": norm, "reduction": options["reduction"]},
    )
