"""The mask of one score at one ratio, and how dense it is in each parameter."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()


import pandas as pd
import torch

from wagle.attribution.attribution import write_masks
from wagle.runtime.job import recorded
from wagle.runtime.records import read_manifest

with recorded(snakemake) as part:
    torch.set_num_threads(snakemake.threads)
    scores, scores_manifest = snakemake.input.scores
    checkpoint, model_manifest = snakemake.input.model
    selection, _, gamma = snakemake.wildcards.selection.partition("@gamma-")
    weights = [
        e["sha256"]
        for n, e in sorted(read_manifest(model_manifest)["outputs"].items())
        if n.endswith(".safetensors")
    ]
    origin = {
        "selection": selection,
        "gamma": gamma,
        "scores_sha256": read_manifest(scores_manifest)["outputs"]["scores.safetensors"]["sha256"],
        "model_sha256": ",".join(weights),
    }
    ratio = float(snakemake.wildcards.ratio)
    [density] = write_masks(
        [part.mask], scores, checkpoint, [ratio], snakemake.params.select, origin
    )
    pd.DataFrame(density).to_csv(part.density, index=False)
