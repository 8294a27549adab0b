"""One cell: unlearn, check what moved, save; on the job's GPUs, LoRA on one of them."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

import torch

from wagle.experiment.cells import Cell
from wagle.runtime.job import recorded
from wagle.training import launch
from wagle.training.entry import unlearn_files

with recorded(snakemake) as part:
    torch.set_num_threads(snakemake.threads)
    cell, params = Cell.parse(snakemake.wildcards.cell), json.loads(snakemake.params.config)
    lora = cell.selection == "lora"
    # The rule lists the splits in this order, each with its record; only PO has refusals.
    files = [path for path in snakemake.input.rows if path.endswith("rows.jsonl")]
    rows = dict(zip(("forget", "retain", "refusals"), files, strict=False))
    method, unlearning = params["method"], params["unlearning"]
    objective_options = method.pop("options", {})
    least_moved = unlearning.pop("least_moved")
    job = rows | {
        "target": snakemake.input.model[0],
        "mask": snakemake.input.mask[0] if cell.has_mask else None,
        "objective": snakemake.params.objective,
        "objective_options": objective_options,
        "training": unlearning | method | params["overrides"] | {"seed": cell.seed},
        "encoding": params["encoding"],
        "adapters": params["adapters"] if lora else None,
        "least_moved": least_moved,
        "checkpoint": str(part.checkpoint),
        "log": str(part.log),
        "moved": str(part.moved),
        "resume": str(part.resume),
        "identity": part.identity,
    }
    launch.run(unlearn_files, job, 1 if lora else snakemake.resources.gpu)
