"""One model's benchmark results and generated texts (tasks beyond TOFU)."""

# ruff: noqa: E402
from wagle.warm import hand_over

hand_over()

import json
from pathlib import Path

import torch

from wagle import data, generation, harness, models, perplexity, suites, toxicity
from wagle.provenance import recorded, write_json

with recorded(snakemake) as part:
    torch.set_num_threads(snakemake.threads)
    params = json.loads(snakemake.params.config)
    files = {Path(path).parent.name: path for path in snakemake.input.rows if path.endswith("rows.jsonl")}
    checkpoint, options = snakemake.input.model[0], params["evaluation"]
    asked = options["generation"]
    roles, most = asked.pop("roles", []), asked.pop("rows", None)
    splits = {role: data.read_rows(files[role]) for role in {*roles, *(["wikitext"] if "perplexity" in options else [])}}
    precision = options.get("harness", {}).pop("precision", "fp32")
    model, tokenizer = models.load(checkpoint, precision), models.load_tokenizer(checkpoint)
    models.check_pair(model, tokenizer)
    found = {}
    if "harness" in options:
        names = options["harness"].pop("local")
        local = {name: harness.local_task(name, Path(files[name]).resolve()) for name in names}
        found["harness"] = harness.run(model, tokenizer, local, **options["harness"])
    if "perplexity" in options:
        texts = [row["text"] for row in splits["wikitext"]]
        found["perplexity"] = perplexity.perplexity(model, tokenizer, texts, **options["perplexity"])
    entries = suites.prompts(splits, roles, most)
    questions = [entry["question"] for entry in entries]
    answers = generation.answers(model, tokenizer, questions, template=params["template"], **asked) if entries else []
    for entry, text in zip(entries, answers, strict=True):
        entry["generated"] = text
    if snakemake.input.classifier:
        embedder = Path(snakemake.input.embedder[0]) if snakemake.input.embedder else None
        for entry, score in zip(entries, toxicity.scores(Path(snakemake.input.classifier[0]), answers, embedder), strict=True):
            entry["toxicity"] = float(score)
    write_json(part.benchmarks, found)
    data.write_rows(part.generations, entries)
