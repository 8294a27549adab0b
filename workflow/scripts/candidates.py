"""Embeddings of paraphrased and perturbed answers, the same for every model."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()


import torch

from wagle.data.rows import read_rows
from wagle.evaluation.generation import tasks
from wagle.model import embedding, tensors
from wagle.runtime.job import recorded

with recorded(snakemake) as part:
    torch.set_num_threads(snakemake.threads)
    files = [path for path in snakemake.input.rows if path.endswith("rows.jsonl")]
    splits = {path.split("/")[-2]: read_rows(path) for path in files}
    texts = [text for task in tasks(splits) for text in task.get("candidates", [])]
    vectors = torch.from_numpy(embedding.embed(embedding.load(snakemake.input.embedder[0]), texts))
    tensors.write(
        part.vectors, {"vectors": list(vectors.shape)}, torch.float32, [("vectors", vectors)]
    )
