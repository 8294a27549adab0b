"""Questions and answers in the chat template that a model's tokenizer brings along.

`template: chat` is that template. `template: "chat: Answer briefly."` also begins each conversation
with this system message. The system message is part of the one text, so that a log, a folder and a
job's identity that name a template name all of it.

Token ids alone say where an answer lies, never a search in the text:

    prompt    the user's turn with the generation prompt: what the model answers to
    answer    what the full conversation has after these tokens, up to the end-of-turn token
    end       the first special token of the closing, which all answers have in common; EOS where
              the closing has none. It carries loss, and generation stops at it.

What the template writes after the end-of-turn token, such as a line break, is dropped.

Notable: templates of newer models write the current date, or a block of thoughts. A run must not
depend on the day, so the date is fixed. Thinking is switched off where the template knows how, so
that the answer follows the prompt directly.

Left out: conversations of several turns, and tools.
"""

import functools
from typing import NamedTuple

from wagle.errors import WagleError

CHAT = "chat"
# The date that Llama 3's own template falls back to, in the formats that templates ask for.
DATE = {"d": "26", "m": "07", "b": "Jul", "B": "July", "Y": "2024", "y": "24"}
CLOCK = "strftime_now"  # the function of transformers that gives templates the date
PROBE = ("0", "1")  # two answers; what follows both of them is the closing of the turn


class ChatTokens(NamedTuple):
    """One conversation as token ids.

    ids: all tokens up to the end of the answer. start: the answer is ids[start:]. end: the
    end-of-turn token, which is not part of ids.
    """

    ids: list[int]
    start: int
    end: int


def is_chat(template: str) -> bool:
    """Does `template` mean the tokenizer's own? A text with {answer} is a template itself."""
    return template == CHAT or (template.startswith(f"{CHAT}:") and "{answer}" not in template)


def system_message(template: str) -> str:
    """The system message of a chat template; empty where there is none."""
    return template.removeprefix(CHAT).removeprefix(":").strip()


def check_tokenizer(tokenizer, template: str) -> None:
    """Raise WagleError when `template` is a chat template that the tokenizer cannot render."""
    if is_chat(template):
        _closing(tokenizer, _template_text(tokenizer), template)


def end_of_turn(tokenizer, template: str) -> int:
    """Id of the token that ends an answer. Raises WagleError as prompt_ids() does."""
    return _closing(tokenizer, _template_text(tokenizer), template).end


def prompt_ids(tokenizer, template: str, question: str) -> list[int]:
    """Token ids of the conversation before the answer, with the generation prompt.

    Raises WagleError when the tokenizer has no chat template, or it refuses the conversation.
    """
    return _render(tokenizer, template, question)


def encode_chat(tokenizer, template: str, question: str, answer: str) -> ChatTokens:
    """The conversation of one question and answer.

    Raises WagleError as prompt_ids() does, and when the template writes the user's turn otherwise
    once an answer follows.
    """
    prompt = _render(tokenizer, template, question)
    ids = _render(tokenizer, template, question, answer)
    start = _common_length(prompt, ids)
    if start < len(prompt):
        # The last tokens may merge with the answer, or the generation prompt opens thoughts that a
        # given answer has not. The user's turn must still be whole.
        turn = _render(tokenizer, template, question, generation_prompt=False)
        if _common_length(turn, ids) < len(turn) - 1:
            raise WagleError(
                "the chat template writes a question otherwise once its answer follows",
                "the same tokens before every answer",
                "write the template out, with {question} and {answer}",
            )
    closing = _closing(tokenizer, _template_text(tokenizer), template)
    return ChatTokens(ids[: len(ids) - closing.length], start, closing.end)


class Closing(NamedTuple):
    """What follows every answer: the end-of-turn token, and how many tokens of the rendered
    conversation are left out: that token, where the template writes it, and all after it.
    """

    end: int
    length: int


@functools.lru_cache(maxsize=8)
def _closing(tokenizer, chat_template, template: str) -> Closing:
    """The closing of a template. `chat_template` is here so that a changed one is read again."""
    first, second = (_render(tokenizer, template, "?", answer) for answer in PROBE)
    length = _common_length(first[::-1], second[::-1])
    closing = first[len(first) - length :]
    added = tokenizer.added_tokens_decoder
    special = {number for number, token in added.items() if token.special}
    special |= set(tokenizer.all_special_ids)
    for position, token in enumerate(closing):
        if token in special:
            return Closing(token, length - position)
    return Closing(tokenizer.eos_token_id, length)


def _template_text(tokenizer) -> str:
    """The tokenizer's chat template, with a fixed date. Raises WagleError when it has none."""
    if not tokenizer.chat_template:
        raise WagleError(
            "the model's tokenizer has no chat template",
            "one, for the config's template is `chat`",
            "use a chat model, or write a template with {question} and {answer}",
        )
    text = tokenizer.get_chat_template()
    if CLOCK not in text:
        return text
    replaced = "".join(f" | replace('%{letter}', '{value}')" for letter, value in DATE.items())
    return f"{{% macro {CLOCK}(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}{text}"


def _render(
    tokenizer,
    template: str,
    question: str,
    answer: str | None = None,
    *,
    generation_prompt: bool = True,
) -> list[int]:
    """Token ids of a conversation; without an answer the generation prompt ends it."""
    text = _template_text(tokenizer)
    from jinja2 import TemplateError

    system = system_message(template)
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": question})
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    try:
        return tokenizer.apply_chat_template(
            messages,
            add_generation_prompt=generation_prompt and answer is None,
            return_dict=False,
            enable_thinking=False,
            chat_template=text,
        )
    except (TemplateError, ValueError, TypeError) as error:
        advice = "leave the system message out" if system else "write the template out"
        raise WagleError(
            f"the chat template refuses the conversation: {error}",
            "a template that takes "
            + ("a system message, " if system else "")
            + "a user's question and an answer",
            advice,
        ) from None


def _common_length(first: list[int], second: list[int]) -> int:
    """How many leading tokens two lists share."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))
