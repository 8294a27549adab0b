"""Rows of a split as token ids: question-answer rows through a template, raw texts as they are.

This is apart from the unlearning run that uses it, so an edit there does not count as a change of
gradients or fine-tuning.

Notable: every token of a raw text but the first carries loss. The options after `max_length` are
habits of the official code (docs/official.md); their defaults are the plain way.
"""

import dataclasses

import numpy as np

from wagle.data.prompts import Encoded, encode
from wagle.errors import WagleError

PADDINGS = ("masked", "in-loss", "in-loss-unattended")


def encode_text(tokenizer, text: str, max_length: int, padding: str = "masked") -> Encoded:
    """Tokens of a raw text, truncated to `max_length` tokens; `padding` is one of PADDINGS.

    `masked` adds no padding here. `in-loss` pads the text to `max_length`, and the padding carries
    loss. With `in-loss-unattended` the model does not attend to that padding.

    Raises WagleError for an unknown padding and for a text of fewer than two tokens.
    """
    if padding not in PADDINGS:
        raise WagleError(f"text_padding {padding!r}", f"one of {', '.join(PADDINGS)}")
    ids = tokenizer(text)["input_ids"][:max_length]
    if len(ids) < 2:
        raise WagleError(f"text {text[:60]!r} has {len(ids)} tokens", "at least 2")
    attended = len(ids) if padding == "in-loss-unattended" else None
    if padding != "masked":
        ids = ids + [tokenizer.pad_token_id] * (max_length - len(ids))
    return Encoded(tuple(ids), 1, False, attended)


@dataclasses.dataclass(frozen=True)
class Halves:
    """A raw text as a question: its first half, and what follows it.

    prompt: token ids of the first half. beginning: the same as text. rest: what follows, as text.
    """

    prompt: tuple[int, ...]
    beginning: str
    rest: str


def halves(tokenizer, text: str, max_length: int, longest_rest: int) -> Halves:
    """The first half of the tokens of `text`, and at most `longest_rest` tokens of the second.

    Tokens beyond `max_length` do not count. Raises WagleError as encode_text() does.
    """
    ids = encode_text(tokenizer, text, max_length).ids
    half = len(ids) // 2
    rest = ids[half : half + longest_rest]
    beginning, rest = (
        tokenizer.decode(part, skip_special_tokens=True) for part in (ids[:half], rest)
    )
    return Halves(ids[:half], beginning, rest.strip())


def encode_rows(
    tokenizer,
    rows: list[dict],
    *,
    template: str,
    max_length: int,
    text_padding: str = "masked",
    last_prompt_token_in_loss: bool = False,
    refusals_end_with_eos: bool = True,
    refusals_attended_as_answers: bool = False,
    refusals: list[str] | None = None,
    seed: int = 0,
) -> list[Encoded]:
    """One `Encoded` per row, in order.

    template, max_length: as in prompts.encode().
    text_padding: as in encode_text().
    last_prompt_token_in_loss: the token before each answer carries loss too.
    refusals_end_with_eos: an end-of-sequence token ends each refusal, as it does answers.
    refusals_attended_as_answers: the model attends to as many tokens of a refusal's row as the
        prompt and the original answer have. What a longer refusal has beyond them is hidden.
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
            continue
        question, answer, eos = row["question"], row["answer"], True
        if refusals:
            answer, eos = refusals[refusal_indices[number]], refusals_end_with_eos
        example = encode(tokenizer, template, question, answer, max_length, eos=eos)
        if refusals and refusals_attended_as_answers:
            original = encode(tokenizer, template, question, row["answer"], max_length, eos=False)
            attended = min(len(original), len(example))
            example = dataclasses.replace(example, attended=attended)
        if last_prompt_token_in_loss:
            # the first token of all has no prediction
            example = dataclasses.replace(example, start=max(1, example.start - 1))
        encoded.append(example)
    return encoded
