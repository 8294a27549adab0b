"""One cell: unlearn, check what moved, save; on the job's GPUs, LoRA on one of them."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

import torch

from wagle.experiment.cells import Cell
from wagle.runtime.files import read_json
from wagle.runtime.job import recorded
from wagle.training import launch
from wagle.training.entry import unlearn_files

with recorded(snakemake) as outputs:
    torch.set_num_threads(snakemake.threads)
    cell, params = Cell.parse(snakemake.wildcards.cell), json.loads(snakemake.params.config)
    inputs, lora = dict(snakemake.input.items()), cell.selection == "lora"
    rate = {"lr": read_json(inputs["point"])["lr"]} if cell.tuned else {}
    job = {
        "target": inputs["model"],
        "forget": inputs["forget_rows"],
        "retain": inputs["retain_rows"],
        "refusals": inputs.get("refusals_rows"),
        "mask": inputs.get("mask"),
        "objective": snakemake.params.objective,
        "objective_options": params["options"],
        "training": params["training"] | rate | {"seed": cell.seed},
        "encoding": params["encoding"],
        "adapters": params["adapters"] if lora else None,
        "least_moved": params["least_moved"],
        "evaluation_precision": params["evaluation_precision"],
        "checkpoint": str(outputs.checkpoint),
        "log": str(outputs.log),
        "moved": str(outputs.moved),
        "resume": str(outputs.resume),
        "identity": outputs.identity,
    }
    launch.run(unlearn_files, job, 1 if lora else snakemake.resources.gpu)
