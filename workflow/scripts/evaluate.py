"""One model's scoring log and generated answers, with their similarity to the candidates."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

import torch

from wagle.data.rows import read_rows, spread, write_rows
from wagle.evaluation import generation, scoring
from wagle.evaluation.progress import Progress
from wagle.model import checkpoints, embedding, tensors
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    torch.set_num_threads(snakemake.threads)
    params = json.loads(snakemake.params.config)
    template, scoring_options = params["template"], params["scoring"]
    decoding = params["generation"]
    splits = {role: read_rows(snakemake.input[f"{role}_rows"]) for role in params["roles"]}
    if most := decoding.pop("rows", None):
        splits = {role: spread(rows, most) for role, rows in splits.items()}
    model = checkpoints.load(snakemake.input.model, scoring_options.pop("precision"))
    tokenizer = checkpoints.load_tokenizer(snakemake.input.model)
    checkpoints.check_pair(model, tokenizer)
    options = {"template": template, "max_length": params["max_length"]}
    saved = Progress(outputs.resume, outputs.identity)

    def score(path):
        log = scoring.score(model, tokenizer, splits, **options, **scoring_options)
        scoring.write_log(path, log, template)

    saved.scoring_log(outputs.tokens, score)
    decoding["saved"] = saved.answers
    entries = generation.answer_all(model, tokenizer, splits, **options, **decoding)
    if "candidates" in dict(snakemake.input.items()):
        _, vectors = next(tensors.stream(snakemake.input.candidates, ["vectors"]))
        embedder = embedding.load(snakemake.input.embedder)
        embedding.add_similarities(entries, embedder, vectors.numpy())
    write_rows(outputs.generations, entries)
