"""One cell: unlearn, check what moved, save."""

# ruff: noqa: E402
from wagle.warm import hand_over

hand_over()

import json

import torch

from wagle import data, masks, models, precision, unlearning
from wagle.cells import Cell
from wagle.provenance import recorded, write_json

with recorded(snakemake) as part:
    torch.set_num_threads(snakemake.threads)
    cell, params = Cell.parse(snakemake.wildcards.cell), json.loads(snakemake.params.config)
    files = [path for path in snakemake.input.rows if path.endswith("rows.jsonl")]
    forget, retain, *rest = [data.read_rows(path) for path in files]
    checkpoint = snakemake.input.model[0]
    options = params["unlearning"] | params["overrides"]
    model, tokenizer = models.load(checkpoint, precision.weights(options["precision"])), models.load_tokenizer(checkpoint)
    mask = dict(masks.load(snakemake.input.mask[0])) if cell.has_mask else None
    model, record = unlearning.unlearn(
        model, tokenizer, forget, retain,
        refusals=[row["text"] for row in rest[0]] if rest else None,
        module=snakemake.params.objective, masks=mask, checkpoint=checkpoint, seed=cell.seed,
        encoding=params["encoding"], method=params["method"],
        adapters=params["adapters"] if cell.selection == "lora" else None,
        log=part.log, resume=part.resume, identity=part.identity, **options,
    )  # fmt: skip
    write_json(part.moved, record)
    models.save(model, tokenizer, part.checkpoint)
