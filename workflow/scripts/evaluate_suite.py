"""One model's benchmark results and generated texts (tasks without a scoring log)."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json
from pathlib import Path

import torch

from wagle.data.rows import read_rows, write_rows
from wagle.evaluation import generation, harness, suites, toxicity
from wagle.model import checkpoints
from wagle.runtime.files import write_json
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    torch.set_num_threads(snakemake.threads)
    params, inputs = json.loads(snakemake.params.config), dict(snakemake.input.items())
    options = params["evaluation"]
    decoding = options["generation"]
    roles, limit = decoding.pop("roles", []), decoding.pop("rows", None)
    splits = {role: read_rows(inputs[f"{role}_rows"]) for role in roles}
    precision = options.get("harness", {}).pop("precision", "fp32")
    model = checkpoints.load(inputs["model"], precision)
    tokenizer = checkpoints.load_tokenizer(inputs["model"])
    checkpoints.check_pair(model, tokenizer)
    benchmarks = {}
    if "harness" in options:
        local = {
            name: harness.local_task(name, Path(inputs[f"{name}_rows"]).resolve())
            for name in options["harness"].pop("local")
        }
        benchmarks["harness"] = harness.run(model, tokenizer, local, **options["harness"])
    entries = suites.prompts(splits, roles, limit)
    questions = [entry["question"] for entry in entries]
    answers = generation.answers(
        model, tokenizer, questions, template=params["template"], **decoding
    )
    for entry, answer in zip(entries, answers, strict=True):
        entry["generated"] = answer
    if "classifier" in inputs:
        embedder = Path(inputs["embedder"]) if "embedder" in inputs else None
        scores = toxicity.scores(Path(inputs["classifier"]), answers, embedder)
        for entry, score in zip(entries, scores, strict=True):
            entry["toxicity"] = float(score)
    write_json(outputs.benchmarks, benchmarks)
    write_rows(outputs.generations, entries)
