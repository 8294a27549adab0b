"""Rows of a split as token ids, with the refusals that replace answers drawn by seed.

Apart from the unlearning run that uses it, so that an edit there does not count as a change of gradients or fine-tuning.
"""

import numpy as np

from wagle.prompts import encode


def encode_rows(tokenizer, template: str, rows: list[dict], max_length: int, refusals: list[str] | None = None, seed: int = 0):
    """Encoded question-answer rows; with `refusals`, one of them, drawn once per row, replaces each answer."""
    answers = [row["answer"] for row in rows]
    if refusals:
        picks = np.random.default_rng([seed, 2]).integers(len(refusals), size=len(rows))
        answers = [refusals[i] for i in picks]
    return [encode(tokenizer, template, row["question"], a, max_length) for row, a in zip(rows, answers, strict=True)]
