"""Turns raw rows into what a role needs: texts, passages of a book, quiz questions.

    form: text         one text per row from `column` (a list of sentences is joined by spaces),
                       cut after `words` words where that is given
    form: packed       all text of `column` as one stream, split into texts of `words` words
    form: completion   the same stream; the first `prompt_words` of each passage are the question,
                       the rest is the answer
    form: quiz         a multiple-choice row as the harness asks it (question), and the letter of
                       the right choice (answer)

All functions are pure, from lists of dicts to lists of dicts.

Notable: passages are counted in words, not tokens, so rows do not depend on a model. English has
about 0.75 words per token. A last passage shorter than the others is dropped, as is an empty row of
a stream.

Left out: sentence boundaries.
"""

import functools
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from wagle.errors import WagleError
from wagle.runtime import assets


class QuizTask(NamedTuple):
    """A multiple-choice task of wagle/assets/harness: its prompt template and choices' letters."""

    template: object
    letters: list[str]


def pick(spec: dict, rows: Iterable[dict], origin: str) -> Iterator[dict]:
    """Rows, one after another, whose columns have the values of `where`, under the names of `columns`.

    spec: an entry under data.splits. origin: where the rows come from, for messages.

    Raises WagleError for an unknown column.
    """
    for row in rows:
        wanted = spec.get("where", {}).items()
        if all(_lookup(row, path, origin) == value for path, value in wanted):
            if "columns" in spec:
                yield {name: _lookup(row, path, origin) for name, path in spec["columns"].items()}
            else:
                yield row


def _lookup(row: dict, path: str, origin: str):
    """The value at `path`, in which dots separate the names of nested columns."""
    value = row
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            raise WagleError(
                f"rows of {origin} have no column {path!r}", f"one of {', '.join(map(str, row))}"
            )
        value = value[name]
    return value


def apply(spec: dict, rows: Iterable[dict], origin: str) -> list[dict]:
    """Rows in the form that `spec` asks for; `rows` themselves where it asks for none.

    spec: an entry under data.splits. origin: where the rows come from, for messages.

    Raises WagleError for a row or an option that does not fit the form.
    """
    form, column = spec.get("form"), spec.get("column", "text")
    if form is None:
        return list(rows)
    if form == "quiz":
        return [_quiz_row(spec["task"], row, f"{origin}, row {i}") for i, row in enumerate(rows)]
    texts = (_text(row, column, f"{origin}, row {i}") for i, row in enumerate(rows))
    if form == "text":
        return [{"text": beginning(text, spec.get("words"))} for text in texts]
    if form == "packed":
        return [{"text": " ".join(words)} for words in passages(texts, spec["words"])]
    prompt_words = spec["prompt_words"]
    if not 0 < prompt_words < spec["words"]:
        raise WagleError(
            f"prompt_words {prompt_words} of {spec['words']} words",
            "at least 1 and fewer than words",
        )
    return [
        {"question": " ".join(words[:prompt_words]), "answer": " ".join(words[prompt_words:])}
        for words in passages(texts, spec["words"])
    ]


def _text(row: dict, column: str, location: str) -> str:
    value = row.get(column)
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return " ".join(value)
    if not isinstance(value, str):
        raise WagleError(
            f"{location}, column {column!r} holds {str(value)[:60]!r}", "a text or a list of texts"
        )
    return value


def beginning(text: str, words: int | None) -> str:
    """The first `words` words of `text` as they stand there; all of it where `words` is None.

    A word has at least one token, so a text cut after as many words as a row may have tokens
    gives the same row.
    """
    if words is None:
        return text
    ends = itertools.islice(re.finditer(r"\S+", text), words - 1, words)
    return next((text[: match.end()] for match in ends), text)


def passages(texts: Iterable[str], words: int) -> list[list[str]]:
    """All `texts` as one stream, in lists of exactly `words` words; the remainder is dropped."""
    stream = [word for text in texts for word in text.split()]
    return [stream[i : i + words] for i in range(0, len(stream) - words + 1, words)]


@functools.cache
def _quiz_task(name: str) -> QuizTask:
    import jinja2
    import yaml

    config = yaml.safe_load(assets.text(f"harness/{name}.yaml", "harness task"))
    environment = jinja2.Environment(
        autoescape=False, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    template = environment.from_string(config["description"] + config["doc_to_text"])
    return QuizTask(template, config["doc_to_choice"])


def _quiz_row(task_name: str, row: dict, location: str) -> dict:
    import jinja2

    task = _quiz_task(task_name)
    try:
        return {"question": task.template.render(row), "answer": task.letters[row["answer"]]}
    except (jinja2.UndefinedError, KeyError, IndexError, TypeError) as error:
        raise WagleError(
            f"{location} is no question of {task_name}: {error}", "question, choices and answer"
        ) from None
