"""Sentence embeddings of answers and candidates, for accuracy by nearest candidate.

The metrics 1-FA and retain accuracy read them. A model takes two batched calls, one for the
generated answers and one for the candidates. Candidates are the same for every model of an
experiment, so their embeddings are computed once and stored in a file.
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
    """Unit vectors, shape (len(texts), dim), fp32; equal texts are embedded once."""
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
    """Replace each entry's `candidates` by the answer's cosine `similarities` to them, in place.

    entries: generation entries; those without candidates stay as they are.
    candidates: embeddings of all entries' candidates in entry order, shape (n, dim).

    Raises WagleError when n is not the number of candidates.
    """
    with_candidates = [entry for entry in entries if "candidates" in entry]
    candidate_count = sum(len(entry["candidates"]) for entry in with_candidates)
    if candidate_count != len(candidates):
        raise WagleError(
            f"{len(candidates)} candidate embeddings for {candidate_count} candidates",
            do="re-run rule candidates",
        )
    answers = embed(model, [entry["generated"] for entry in with_candidates])
    start = 0
    for entry, answer in zip(with_candidates, answers, strict=True):
        stop = start + len(entry.pop("candidates"))
        entry["similarities"] = [float(x) for x in candidates[start:stop] @ answer]
        start = stop
