"""One estimate of the retain Hessian's diagonal at the target model."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

import torch

from wagle.attribution import curvature
from wagle.attribution.side_rows import side_rows
from wagle.data.encoding import encode_rows
from wagle.model import checkpoints
from wagle.runtime.files import write_json
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    torch.set_num_threads(snakemake.threads)
    params = json.loads(snakemake.params.config)
    options = params["attribution"]
    rows, _ = side_rows(
        "retain",
        dict(snakemake.input.items()),
        seed=params["seed"],
        with_replacement=params["retain_with_replacement"],
        limit=params["rows"],
    )
    model = checkpoints.load(snakemake.input.model, options["precision"])
    tokenizer = checkpoints.load_tokenizer(snakemake.input.model)
    loss = curvature.RetainLoss(
        model,
        encode_rows(tokenizer, rows, **params["encoding"]),
        tokenizer.pad_token_id,
        options["token_budget"],
        options["reduction"],
        torch.Generator().manual_seed(params["seed"]),
        snakemake.config["attribution"].get("activation_checkpointing", False),
    )
    h = curvature.estimate(snakemake.params.implementation, loss, params["options"])
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    stats = curvature.write(outputs.curvature, h, sizes)
    write_json(outputs.stats, {"rows": len(rows), "reduction": options["reduction"]} | stats)
