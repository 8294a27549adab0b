"""Sentence embeddings of answers and candidates, for accuracy by nearest candidate (metrics: 1-FA, retain accuracy).

Two batched calls a model, one for the generated answers and one for the candidates; candidates are the same for every
model of an experiment, so their embeddings are made once and kept in a file.
"""

from pathlib import Path

import numpy as np

from wagle.errors import WagleError


def load(path: str | Path):
    """The sentence-transformers model in folder `path`. Raises WagleError when it does not load."""
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(str(path), local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise WagleError(f"no usable sentence-embedding model in {path}: {error}") from None


def embed(model, texts: list[str]) -> np.ndarray:
    """Unit vectors (len(texts), dim) fp32; equal texts are embedded once."""
    unique = list(dict.fromkeys(texts))
    vectors = model.encode(
        unique,
        batch_size=64,
        normalize_embeddings=True,
        show_progress_bar=False,
        convert_to_numpy=True,
    )
    index = {text: i for i, text in enumerate(unique)}
    return np.asarray(vectors, dtype=np.float32)[[index[text] for text in texts]]


def add_similarities(entries: list[dict], model, candidates: np.ndarray) -> None:
    """Give each generation entry with `candidates` its cosine similarities to them, in place, and drop the texts.

    `candidates` (n, d) are the embeddings of all entries' candidates, in entry order. Raises WagleError if n differs.
    """
    asked = [entry for entry in entries if "candidates" in entry]
    wanted = sum(len(entry["candidates"]) for entry in asked)
    if wanted != len(candidates):
        raise WagleError(
            f"{len(candidates)} candidate embeddings for {wanted} candidates",
            do="re-run rule candidates",
        )
    answers = embed(model, [entry["generated"] for entry in asked])
    start = 0
    for entry, answer in zip(asked, answers, strict=True):
        stop = start + len(entry.pop("candidates"))
        entry["similarities"] = [float(x) for x in candidates[start:stop] @ answer]
        start = stop
