"""Input norms of every weight that the model multiplies with, on forget rows, for Wanda."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

import numpy as np
import torch

from wagle.attribution import output_rows
from wagle.attribution.input_norms import feature_norms
from wagle.data.encoding import encode_rows
from wagle.data.rows import read_rows
from wagle.model import checkpoints, tensors
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    torch.set_num_threads(snakemake.threads)
    params = json.loads(snakemake.params.config)
    options = params["attribution"]
    rows = read_rows(snakemake.input.forget_rows)
    rng = np.random.default_rng([params["seed"], 4])
    picks = sorted(rng.permutation(len(rows))[: options["calibration_samples"]])
    model = checkpoints.load(snakemake.input.model, options["precision"])
    tokenizer = checkpoints.load_tokenizer(snakemake.input.model)
    encoded = encode_rows(tokenizer, [rows[i] for i in picks], **params["encoding"])
    norms = feature_norms(model, encoded, tokenizer.pad_token_id, options["token_budget"])
    print(norms.describe())
    shapes = {name: list(norm.shape) for name, norm in norms.by_name.items()}
    metadata = {"rows": str(len(picks))} | output_rows.metadata(norms.transposed)
    tensors.write(outputs.activations, shapes, torch.float32, norms.by_name.items(), metadata)
