"""Embeddings of paraphrased and perturbed answers, the same for every model."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import torch

from wagle.data.rows import read_rows
from wagle.evaluation.generation import tasks
from wagle.model import embedding, tensors
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    torch.set_num_threads(snakemake.threads)
    splits = {
        "forget_perturbed": read_rows(snakemake.input.forget_perturbed_rows),
        "retain_perturbed": read_rows(snakemake.input.retain_perturbed_rows),
    }
    texts = [text for task in tasks(splits) for text in task.get("candidates", [])]
    embedder = embedding.load(snakemake.input.embedder)
    vectors = torch.from_numpy(embedding.embed(embedder, texts))
    shapes = {"vectors": list(vectors.shape)}
    tensors.write(outputs.vectors, shapes, torch.float32, [("vectors", vectors)])
