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
    vectors = model.encode(unique, batch_size=64, normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True)
    index = {text: i for i, text in enumerate(unique)}
    return np.asarray(vectors, dtype=np.float32)[[index[text] for text in texts]]


def similarities(answers: np.ndarray, candidates: list[np.ndarray]) -> list[list[float]]:
    """Cosine similarity of each answer (n, d) with its own candidates [(K_i, d)], as lists of floats."""
    return [[float(x) for x in rows @ answer] for answer, rows in zip(answers, candidates, strict=True)]
