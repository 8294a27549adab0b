"""Scores of one selection, tensor by tensor."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

import torch

from wagle.attribution.attribution import write_scores
from wagle.runtime.files import write_json
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    torch.set_num_threads(snakemake.threads)
    names = ("forget", "retain", "activations")
    files = {name: path for name, path in snakemake.input.items() if name in names}
    _, _, gamma = snakemake.wildcards.selection.partition("@gamma-")
    options = json.loads(snakemake.params.options) | ({"gamma": float(gamma)} if gamma else {})
    stats = write_scores(
        outputs.scores,
        snakemake.params.implementation,
        snakemake.input.model,
        files,
        options=options,
        seed=snakemake.params.seed,
    )
    print(f"{stats['coverage']:.1%} of the weights are ranked; not: {stats['unranked']}")
    write_json(outputs.stats, stats)
