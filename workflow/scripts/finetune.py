"""Target and retrained model: fine-tuned here, or taken from hub or path."""

# ruff: noqa: E402
from wagle.warm import hand_over

hand_over()

import json

import torch

from wagle import data, models
from wagle.finetuning import finetune
from wagle.provenance import recorded

with recorded(snakemake) as part:
    torch.set_num_threads(snakemake.threads)
    spec, params = json.loads(snakemake.params.source), json.loads(snakemake.params.config)
    if spec["source"] == "finetune":
        rows = [row for path in snakemake.input.rows if path.endswith("rows.jsonl") for row in data.read_rows(path)]
        model, tokenizer = models.load(snakemake.input.base[0]), models.load_tokenizer(snakemake.input.base[0])
        model, done = finetune(
            model, tokenizer, rows, encoding=params["encoding"], identity=part.identity, resume=part.resume, **params["finetune"]
        )
        print(json.dumps(done))
    else:
        model, tokenizer = models.obtain(spec, [], 0)
    models.save(model, tokenizer, part.checkpoint)
