"""One model's scoring log and generated answers, with their similarity to the candidates."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

import torch

from wagle.data.rows import read_rows, write_rows
from wagle.evaluation import generation, scoring
from wagle.model import checkpoints, embedding, tensors
from wagle.runtime.job import recorded

with recorded(snakemake) as part:
    torch.set_num_threads(snakemake.threads)
    params = json.loads(snakemake.params.config)
    files = [path for path in snakemake.input.rows if path.endswith("rows.jsonl")]
    splits = {path.split("/")[-2]: read_rows(path) for path in files}
    checkpoint, template = snakemake.input.model[0], params["template"]
    scoring_options, generation_options = params["scoring"], params["generation"]
    model = checkpoints.load(checkpoint, scoring_options.pop("precision"))
    tokenizer = checkpoints.load_tokenizer(checkpoint)
    checkpoints.check_pair(model, tokenizer)
    log = scoring.score(
        model, tokenizer, splits, template=template, max_length=params["max_length"], **scoring_options,
    )  # fmt: skip
    scoring.write_log(part.tokens, log)
    entries = generation.tasks(splits)
    asked = [entry["question"] for entry in entries]
    for entry, text in zip(
        entries,
        generation.answers(model, tokenizer, asked, template=template, **generation_options),
        strict=True,
    ):
        entry["generated"] = text
    vectors = next(tensors.stream(snakemake.input.candidates[0], ["vectors"]))[1].numpy()
    embedding.add_similarities(entries, embedding.load(snakemake.input.embedder[0]), vectors)
    write_rows(part.generations, entries)
