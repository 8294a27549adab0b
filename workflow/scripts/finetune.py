"""Target and retrained model: fine-tuned on the job's GPUs (LoRA on one), or from hub or path."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

import torch

from wagle.model import checkpoints
from wagle.runtime.job import recorded
from wagle.training import launch
from wagle.training.entry import finetuned

with recorded(snakemake) as part:
    torch.set_num_threads(snakemake.threads)
    spec, params = json.loads(snakemake.params.source), json.loads(snakemake.params.config)
    if spec["source"] == "finetune":
        job = {
            "base": snakemake.input.base,
            "rows": [snakemake.input[f"{role}_rows"] for role in params["roles"]],
            "out": str(part.checkpoint),
            "resume": str(part.resume),
            "identity": part.identity,
            "encoding": params["encoding"],
            "options": params["finetune"],
        }
        adapted = "adapters" in params["finetune"]
        launch.run(finetuned, job, 1 if adapted else snakemake.resources.gpu)
    else:
        checkpoints.save(*checkpoints.obtain(spec, [], 0), part.checkpoint)
