"""One cell: unlearn, check what moved, save; on the job's GPUs, LoRA on one of them."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

import torch

from wagle.experiment.cells import Cell
from wagle.runtime.job import recorded
from wagle.training import launch
from wagle.training.entry import unlearned

with recorded(snakemake) as part:
    torch.set_num_threads(snakemake.threads)
    cell, params = Cell.parse(snakemake.wildcards.cell), json.loads(snakemake.params.config)
    inputs, lora = dict(snakemake.input.items()), cell.selection == "lora"
    roles = ("forget", "retain", "refusals")
    job = {
        "target": inputs["model"],
        "rows": [inputs[f"{role}_rows"] for role in roles if f"{role}_rows" in inputs],
        "mask": inputs.get("mask"),
        "objective": snakemake.params.objective,
        "out": {name: str(getattr(part, name)) for name in ("checkpoint", "log", "moved")},
        "resume": str(part.resume),
        "identity": part.identity,
        "seed": cell.seed,
        "encoding": params["encoding"],
        "method": params["method"],
        "adapters": params["adapters"] if lora else None,
    }
    options = params["unlearning"] | params["overrides"]
    launch.run(unlearned, job | options, 1 if lora else snakemake.resources.gpu)
