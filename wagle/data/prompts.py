"""From a question and an answer to token ids and the positions that carry loss.

A template is a text with {question} and {answer}, such as "[INST] {question} [/INST] {answer}", or
`chat` for the tokenizer's own chat template (wagle/data/chat.py). The whole text is tokenized at
once, and character offsets tell where the answer starts. No tokenizer's habit at that boundary
(such as merging a space into the next word) shifts it. An end-of-sequence token ends the answer, in
a chat the template's end-of-turn token. For generation the same tokens before the answer are the
prompt.

Notable: a token across the boundary belongs to the answer.

Left out: truncation inside a prompt. A text over `max_length` is truncated at the right, and one
whose answer would vanish is an error.
"""

from dataclasses import dataclass

from wagle.data import chat
from wagle.errors import WagleError


@dataclass(frozen=True)
class Encoded:
    """One text as token ids.

    ids: all tokens, with BOS and EOS (in a chat the end-of-turn token).
    start: the answer is ids[start:], and those tokens carry loss.
    ends_with_eos: False when truncation took the EOS, or it was not wanted.
    attended: the model attends to the first so many tokens; None: to all of them.
    """

    ids: tuple[int, ...]
    start: int
    ends_with_eos: bool
    attended: int | None = None

    def __len__(self) -> int:
        return len(self.ids)


def check_template(template: str) -> None:
    """Raise WagleError unless the template is `chat`, or has {question} and {answer} once each.

    The answer must come last.
    """
    if chat.is_chat(template):
        return
    if (
        template.count("{question}") != 1
        or template.count("{answer}") != 1
        or not template.endswith("{answer}")
    ):
        raise WagleError(
            f"template {template!r}",
            "{question} once, then {answer} once at the very end, or `chat`, or"
            " `chat: <system message>`",
        )


def render(template: str, question: str) -> str:
    """The text before the answer, in a template that is no chat template."""
    return template.removesuffix("{answer}").replace("{question}", question)


def encode(
    tokenizer, template: str, question: str, answer: str, max_length: int, *, eos: bool = True
) -> Encoded:
    """Tokens of question and answer in the template, truncated to `max_length` tokens.

    eos: whether an end-of-sequence token ends the answer, in a chat the end-of-turn token.

    Raises WagleError when no answer token is left, or none precedes the answer.
    """
    if chat.is_chat(template):
        ids, start, end = chat.encode_chat(tokenizer, template, question, answer)
    else:
        ids, start = _encode_text(tokenizer, render(template, question), answer)
        end = tokenizer.eos_token_id
    ids = [*ids, *[end] * eos]
    ends_with_eos = eos and len(ids) <= max_length
    ids = ids[:max_length]
    if start >= len(ids) or start == 0:
        raise WagleError(
            f"question {question[:60]!r} has {start} tokens before its answer",
            f"at least 1 and fewer than max_length {max_length}",
            "raise max_length",
        )
    return Encoded(tuple(ids), start, ends_with_eos)


def _encode_text(tokenizer, prompt: str, answer: str) -> tuple[list[int], int]:
    """Token ids of prompt and answer without EOS, and how many of them precede the answer."""
    encoding = tokenizer(prompt + answer, return_offsets_mapping=True)
    ids, offsets = encoding["input_ids"], encoding["offset_mapping"]
    # some tokenizers append EOS themselves
    if ids and ids[-1] == tokenizer.eos_token_id and offsets[-1][0] == offsets[-1][1]:
        ids, offsets = ids[:-1], offsets[:-1]
    return ids, next((i for i, (_, end) in enumerate(offsets) if end > len(prompt)), len(ids))


def encode_prompt(tokenizer, template: str, question: str) -> tuple[int, ...]:
    """Token ids of the prompt alone: what precedes any answer to `question`."""
    if chat.is_chat(template):
        return tuple(chat.prompt_ids(tokenizer, template, question))
    # the space before an answer belongs to the answer's first token
    ids = tokenizer(render(template, question).rstrip(" "))["input_ids"]
    if ids and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]
    return tuple(ids)


def stop_tokens(tokenizer, template: str) -> list[int]:
    """Ids that end an answer in `template`: EOS, and in a chat the end-of-turn token."""
    ends = [tokenizer.eos_token_id]
    if chat.is_chat(template):
        ends.append(chat.end_of_turn(tokenizer, template))
    return list(dict.fromkeys(ends))
