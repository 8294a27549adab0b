"""Input-feature norms of every linear layer on forget rows, for Wanda."""

# ruff: noqa: E402
from wagle.warm import hand_over

hand_over()

import json

import numpy as np
import torch

from wagle import data, models, tensors
from wagle.encoding import encode_rows
from wagle.gradients import feature_norms
from wagle.provenance import recorded

with recorded(snakemake) as part:
    torch.set_num_threads(snakemake.threads)
    params = json.loads(snakemake.params.config)
    options = params["attribution"]
    rows = data.read_rows(snakemake.input.rows[0])
    rng = np.random.default_rng([int(snakemake.wildcards.draw.removeprefix("seed-")), 4])
    picks = sorted(rng.permutation(len(rows))[: options["calibration_samples"]])
    checkpoint = snakemake.input.model[0]
    model, tokenizer = models.load(checkpoint, options["precision"]), models.load_tokenizer(checkpoint)
    encoded = encode_rows(tokenizer, [rows[i] for i in picks], **params["encoding"])
    norms = feature_norms(model, encoded, tokenizer.pad_token_id, options["token_budget"])
    shapes = {name: list(x.shape) for name, x in norms.items()}
    tensors.write(part.activations, shapes, torch.float32, norms.items(), {"rows": str(len(picks))})
