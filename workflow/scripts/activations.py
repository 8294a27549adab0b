"""Input norms of every weight that the model multiplies with, on forget rows, for Wanda."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

import torch

from wagle.attribution.input_norms import feature_norms
from wagle.attribution.score_inputs import calibration_sample, write_norms
from wagle.data.encoding import encode_rows
from wagle.data.rows import read_rows
from wagle.model import checkpoints
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    torch.set_num_threads(snakemake.threads)
    params = json.loads(snakemake.params.config)
    options = params["attribution"]
    rows = read_rows(snakemake.input.forget_rows)
    rows = calibration_sample(rows, options["calibration_samples"], params["seed"])
    model = checkpoints.load(snakemake.input.model, options["precision"])
    tokenizer = checkpoints.load_tokenizer(snakemake.input.model)
    encoded = encode_rows(tokenizer, rows, **params["encoding"])
    norms = feature_norms(model, encoded, tokenizer.pad_token_id, options["token_budget"])
    print(norms.describe())
    write_norms(outputs.activations, norms, len(rows))
