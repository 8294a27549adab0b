"""One model's benchmark results and generated texts (tasks beyond TOFU)."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json
from pathlib import Path

import torch

from wagle.data.rows import read_rows, write_rows
from wagle.evaluation import generation, harness, suites, toxicity
from wagle.evaluation.perplexity import perplexity
from wagle.model import checkpoints
from wagle.runtime.files import write_json
from wagle.runtime.job import recorded

with recorded(snakemake) as part:
    torch.set_num_threads(snakemake.threads)
    params = json.loads(snakemake.params.config)
    files = {
        Path(path).parent.name: path for path in snakemake.input.rows if path.endswith("rows.jsonl")
    }
    checkpoint, options = snakemake.input.model[0], params["evaluation"]
    asked = options["generation"]
    roles, most = asked.pop("roles", []), asked.pop("rows", None)
    splits = {
        role: read_rows(files[role])
        for role in {*roles, *(["wikitext"] if "perplexity" in options else [])}
    }
    precision = options.get("harness", {}).pop("precision", "fp32")
    model, tokenizer = (
        checkpoints.load(checkpoint, precision),
        checkpoints.load_tokenizer(checkpoint),
    )
    checkpoints.check_pair(model, tokenizer)
    found = {}
    if "harness" in options:
        names = options["harness"].pop("local")
        local = {name: harness.local_task(name, Path(files[name]).resolve()) for name in names}
        found["harness"] = harness.run(model, tokenizer, local, **options["harness"])
    if "perplexity" in options:
        texts = [row["text"] for row in splits["wikitext"]]
        found["perplexity"] = perplexity(model, tokenizer, texts, **options["perplexity"])
    entries = suites.prompts(splits, roles, most)
    questions = [entry["question"] for entry in entries]
    answers = (
        generation.answers(model, tokenizer, questions, template=params["template"], **asked)
        if entries
        else []
    )
    for entry, text in zip(entries, answers, strict=True):
        entry["generated"] = text
    if snakemake.input.classifier:
        embedder = Path(snakemake.input.embedder[0]) if snakemake.input.embedder else None
        for entry, score in zip(
            entries,
            toxicity.scores(Path(snakemake.input.classifier[0]), answers, embedder),
            strict=True,
        ):
            entry["toxicity"] = float(score)
    write_json(part.benchmarks, found)
    write_rows(part.generations, entries)
