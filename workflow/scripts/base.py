"""The base model: from hub, path or wheel, or a small one pre-trained on general questions."""

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
    config = snakemake.config
    spec = config["models"]["base"]
    facts, rows = [], []
    if spec["source"] == "scratch":
        files = [path for path in snakemake.input.rows if path.endswith("rows.jsonl")]
        facts = [row for path in files[:2] for row in data.read_rows(path)]
        rows = facts + [row for path in files[2:] for row in data.read_rows(path)]
    corpus = [f"{row['question']} {row['answer']}" for row in rows]
    model, tokenizer = models.obtain(spec, corpus, spec.get("seed", 0))
    models.check_pair(model, tokenizer)
    if "pretrain" in spec:
        options = {"template": config["template"], "max_length": config["max_length"]} | spec["pretrain"]
        print(json.dumps(finetune(model, tokenizer, facts, identity=part.identity, resume=part.resume, **options)))
    models.save(model, tokenizer, part.checkpoint)
