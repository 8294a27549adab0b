"""Rows of a split as token ids: question-answer rows through a template, raw texts as they are.

This is apart from the unlearning run that uses it, so an edit there does not count as a change of
gradients or fine-tuning.

Notable: every token of a raw text but the first carries loss. `text_padding: in-loss` is the
official WMDP code's way: texts are padded to max_length, and the padding carries loss. The default
everywhere is `masked`.
"""

import numpy as np

from wagle.data.prompts import Encoded, encode
from wagle.errors import WagleError

PADDINGS = ("masked", "in-loss")


def encode_text(tokenizer, text: str, max_length: int, padding: str = "masked") -> Encoded:
    """Tokens of a raw text, truncated to `max_length` tokens; `padding` is one of PADDINGS.

    Raises WagleError for an unknown padding and for a text of fewer than two tokens.
    """
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
    """One `Encoded` per row, in order.

    template, max_length: as in prompts.encode().
    text_padding: as in encode_text().
    refusals: one of them, sampled once per row from `seed`, replaces each answer.

    Raises WagleError where refusals would replace the answers of raw texts, which have none, and as
    encode() and encode_text() do.
    """
    refusal_indices = (
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
            answer = refusals[refusal_indices[number]] if refusals else row["answer"]
            encoded.append(encode(tokenizer, template, row["question"], answer, max_length))
    return encoded
