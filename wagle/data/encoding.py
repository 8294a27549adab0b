"""Rows of a split as token ids: question-answer rows through a template, raw texts as they are.

Refusals that replace answers are drawn by seed. Apart from the unlearning run that uses it, so that an edit there does not
count as a change of gradients or fine-tuning.

Notable: of a raw text every token but the first carries loss. `text_padding: in-loss` is the official WMDP code's way: texts
are padded to max_length and the padding carries loss; the default everywhere is `masked`.
"""

import numpy as np

from wagle.data.prompts import Encoded, encode
from wagle.errors import WagleError

PADDINGS = ("masked", "in-loss")


def encode_text(tokenizer, text: str, max_length: int, padding: str = "masked") -> Encoded:
    """Tokens of a raw text, cut at `max_length`. Raises WagleError for a text of fewer than two tokens."""
    if padding not in PADDINGS:
        raise WagleError(f"text_padding {padding!r}", f"one of {', '.join(PADDINGS)}")
    ids = tokenizer(text)["input_ids"][:max_length]
    if len(ids) < 2:
        raise WagleError(f"text {text[:60]!r} has {len(ids)} tokens", "at least 2")
    if padding == "in-loss":
        ids = ids + [tokenizer.pad_token_id] * (max_length - len(ids))
    return Encoded(tuple(ids), 1, False)


def encode_rows(
    tokenizer,
    rows: list[dict],
    *,
    template: str,
    max_length: int,
    text_padding: str = "masked",
    refusals: list[str] | None = None,
    seed: int = 0,
) -> list[Encoded]:
    """One `Encoded` a row; with `refusals`, one of them, drawn once per row, replaces each answer.

    Raises WagleError where refusals are to replace the answers of raw texts, which have none.
    """
    picks = (
        np.random.default_rng([seed, 2]).integers(len(refusals), size=len(rows))
        if refusals
        else None
    )
    encoded = []
    for number, row in enumerate(rows):
        if "text" in row:
            if refusals:
                raise WagleError(
                    f"row {number} is a raw text",
                    "a question to refuse",
                    "use form: completion, or another method",
                )
            encoded.append(encode_text(tokenizer, row["text"], max_length, text_padding))
        else:
            answer = refusals[picks[number]] if refusals else row["answer"]
            encoded.append(encode(tokenizer, template, row["question"], answer, max_length))
    return encoded
