"""Gradient of the forget loss, or of the retain loss on as many rows drawn at random."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

import torch

from wagle.attribution.gradients import accumulate
from wagle.attribution.score_inputs import retain_sample, write_gradients
from wagle.data.encoding import encode_rows
from wagle.data.rows import read_rows
from wagle.model import checkpoints
from wagle.runtime.files import write_json
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    torch.set_num_threads(snakemake.threads)
    params = json.loads(snakemake.params.config)
    options, attribution = params["attribution"], snakemake.config["attribution"]
    rows, refusals = read_rows(snakemake.input.forget_rows), None
    if params["source"] == "retain":
        retain = read_rows(snakemake.input.retain_rows)
        replace = params["retain_with_replacement"]
        rows = retain_sample(retain, len(rows), params["seed"], replace)
    elif params["source"] == "forget-refusal":
        refusals = [row["text"] for row in read_rows(snakemake.input.refusals_rows)]
    # the official code sums gradients of bf16 weights in bf16
    precision = "bf16" if params["accumulation"].get("in_bf16") else options["precision"]
    model = checkpoints.load(snakemake.input.model, precision)
    tokenizer = checkpoints.load_tokenizer(snakemake.input.model)
    encoded = encode_rows(
        tokenizer, rows, refusals=refusals, seed=params["seed"] or 0, **params["encoding"]
    )
    sums, loss = accumulate(
        model,
        encoded,
        tokenizer.pad_token_id,
        options["token_budget"],
        options["reduction"],
        **params["accumulation"],
        activation_checkpointing=attribution.get("activation_checkpointing", False),
    )
    norm = float(torch.stack([g.double().square().sum() for g in sums.values()]).sum().sqrt())
    write_gradients(outputs.gradients, sums, options["reduction"], len(rows))
    stats = {"rows": len(rows), "loss": loss, "norm": norm, "reduction": options["reduction"]}
    write_json(outputs.stats, stats)
