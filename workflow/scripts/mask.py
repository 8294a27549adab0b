"""The mask of one score at one ratio, and how dense it is in each parameter."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json
from pathlib import Path

import pandas as pd
import torch

from wagle.attribution.attribution import write_masks
from wagle.attribution.budgeting import BudgetRule
from wagle.runtime.files import read_json
from wagle.runtime.job import recorded
from wagle.runtime.records import read_manifest


def recorded_hashes(path):
    """sha256 by name of the tensor files that the job of `path` recorded."""
    outputs = read_manifest(Path(path).parent / "manifest.json")["outputs"]
    return [
        entry["sha256"] for name, entry in sorted(outputs.items()) if name.endswith(".safetensors")
    ]


with recorded(snakemake) as outputs:
    torch.set_num_threads(snakemake.threads)
    scores, checkpoint = snakemake.input.scores, snakemake.input.model
    selection, _, gamma = snakemake.wildcards.selection.partition("@gamma-")
    origin = {
        "selection": selection,
        "gamma": gamma,
        "scores_sha256": ",".join(recorded_hashes(scores)),
        "model_sha256": ",".join(recorded_hashes(checkpoint)),
    }
    if snakemake.params.budget:
        origin["budget"] = snakemake.params.budget
    if snakemake.params.variant:  # labels and habits other than the plain ones
        origin["variant"] = snakemake.params.variant
    point, select = snakemake.input.get("point"), snakemake.params.select
    ratio = float(read_json(point)["ratio"] if point else snakemake.wildcards.ratio)
    budget = snakemake.params.budget and BudgetRule(*json.loads(snakemake.params.budget))
    [density] = write_masks(
        [outputs.mask], scores, checkpoint, [ratio], select, origin, budget or None
    )
    pd.DataFrame(density).to_csv(outputs.density, index=False)
