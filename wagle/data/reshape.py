"""Raw rows made into what a role needs: text, passages of a book, quiz questions. Pure functions of lists of dicts.

    form: text         one text a row from `column` (a list of sentences is joined by blanks)
    form: packed       all text of `column` in one stream, cut into texts of `words` words
    form: completion   the same stream; the first `prompt_words` of each passage are the question, the rest the answer
    form: quiz         a multiple-choice row as the harness asks it (question) and the letter of the right choice (answer)

Notable: passages are cut by words, not tokens, so rows do not depend on a model; about 0.75 words a token in English.
A last passage shorter than the others is dropped, as is a blank row of a stream. Left out: sentence boundaries.
"""

import functools

from wagle.errors import WagleError
from wagle.runtime import assets


def pick(spec: dict, rows: list[dict], origin: str) -> list[dict]:
    """Rows whose columns have the values of `where`, under the names of `columns`. Raises WagleError for an unknown column."""
    if "where" in spec:
        rows = [
            row
            for row in rows
            if all(_inside(row, path, origin) == value for path, value in spec["where"].items())
        ]
    if "columns" in spec:
        rows = [
            {ours: _inside(row, theirs, origin) for ours, theirs in spec["columns"].items()}
            for row in rows
        ]
    return rows


def _inside(row: dict, path: str, origin: str):
    value = row
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            raise WagleError(
                f"rows of {origin} have no column {path!r}", f"one of {', '.join(map(str, row))}"
            )
        value = value[name]
    return value


def apply(spec: dict, rows: list[dict], origin: str) -> list[dict]:
    """Rows in the form that `spec` asks for; `rows` themselves where it asks for none. Raises WagleError where it cannot."""
    form, column = spec.get("form"), spec.get("column", "text")
    if form is None:
        return rows
    if form == "quiz":
        return [_quiz(spec["task"], row, f"{origin}, row {i}") for i, row in enumerate(rows)]
    texts = [_text(row, column, f"{origin}, row {i}") for i, row in enumerate(rows)]
    if form == "text":
        return [{"text": text} for text in texts]
    if form == "packed":
        return [{"text": " ".join(words)} for words in passages(texts, spec["words"])]
    cut = spec["prompt_words"]
    if not 0 < cut < spec["words"]:
        raise WagleError(
            f"prompt_words {cut} of {spec['words']} words", "at least 1 and fewer than words"
        )
    return [
        {"question": " ".join(words[:cut]), "answer": " ".join(words[cut:])}
        for words in passages(texts, spec["words"])
    ]


def _text(row: dict, column: str, where: str) -> str:
    value = row.get(column)
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return " ".join(value)
    if not isinstance(value, str):
        raise WagleError(
            f"{where}, column {column!r} holds {str(value)[:60]!r}", "a text or a list of texts"
        )
    return value


def passages(texts: list[str], words: int) -> list[list[str]]:
    """Lists of exactly `words` words, in order, from all `texts` as one stream; what is left over is dropped."""
    stream = [word for text in texts for word in text.split()]
    return [stream[i : i + words] for i in range(0, len(stream) - words + 1, words)]


@functools.cache
def _asked(task: str):
    """The prompt template of harness task `task` (wagle/assets/harness)."""
    import jinja2
    import yaml

    config = yaml.safe_load(assets.text(f"harness/{task}.yaml", "harness task"))
    environment = jinja2.Environment(
        autoescape=False, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    return environment.from_string(config["description"] + config["doc_to_text"]), config[
        "doc_to_choice"
    ]


def _quiz(task: str, row: dict, where: str) -> dict:
    import jinja2

    template, letters = _asked(task)
    try:
        return {"question": template.render(row), "answer": letters[row["answer"]]}
    except (jinja2.UndefinedError, KeyError, IndexError, TypeError) as error:
        raise WagleError(
            f"{where} is no question of {task}: {error}", "question, choices and answer"
        ) from None
