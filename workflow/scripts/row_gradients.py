"""Mean squares and variances over rows of the gradient of one row, of the forget or retain loss."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

import torch

from wagle.attribution.row_gradients import row_moments
from wagle.attribution.side_rows import side_rows
from wagle.data.encoding import encode_rows
from wagle.model import checkpoints, tensors
from wagle.runtime.files import write_json
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    torch.set_num_threads(snakemake.threads)
    params = json.loads(snakemake.params.config)
    attribution = snakemake.config["attribution"]
    rows, refusals = side_rows(
        params["source"],
        dict(snakemake.input.items()),
        seed=params["seed"],
        with_replacement=params["retain_with_replacement"],
    )
    model = checkpoints.load(snakemake.input.model, params["attribution"]["precision"])
    tokenizer = checkpoints.load_tokenizer(snakemake.input.model)
    encoded = encode_rows(
        tokenizer, rows, refusals=refusals, seed=params["seed"] or 0, **params["encoding"]
    )
    moments = row_moments(
        model,
        encoded,
        tokenizer.pad_token_id,
        activation_checkpointing=attribution.get("activation_checkpointing", False),
    )
    shapes, metadata = checkpoints.parameter_shapes(model), {"rows": str(len(rows))}
    tensors.write(outputs.squares, shapes, torch.float32, moments.squares.items(), metadata)
    variances = ((name, moments.variance(name)) for name in shapes)
    tensors.write(outputs.variance, shapes, torch.float32, variances, metadata)
    write_json(outputs.stats, {"rows": len(rows), "loss": moments.loss})
