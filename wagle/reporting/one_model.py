"""One evaluated model for people and other programs: rows with their answers, and a summary.

Notable: pure functions from logs to lines. Left out: the metrics themselves
(wagle/evaluation/protocols.py).
"""

from collections.abc import Callable

from wagle.evaluation.metrics import rouge_l_recall
from wagle.evaluation.score_log import Log


def answer_rows(columns: dict, generations: list[dict], prompt: Callable) -> list[dict]:
    """One mapping for each generated answer: what was asked, what is true, what the model said.

    columns: the scoring log. prompt: from a question to the text that the model read.
    `truth_loss` is the mean loss of the true answer's tokens in nats, of original questions.
    """
    log = Log(columns)
    recall = rouge_l_recall(
        [entry["answer"] for entry in generations], [entry["generated"] for entry in generations]
    )
    rows = []
    for entry, rouge in zip(generations, recall, strict=True):
        original = entry["asked"] == "original"
        row = {key: entry[key] for key in ("split", "row", "asked", "question")}
        row |= {
            "prompt": prompt(entry["question"]),
            "truth": entry["answer"],
            "answer": entry["generated"],
            "rouge_l_recall": float(rouge),
        }
        if original:
            row["truth_loss"] = log.loss(entry["split"], entry["row"], "answer")
        rows.append(row)
    return rows


def summary(about: dict[str, str], metrics: dict[str, dict], examples: list[dict]) -> str:
    """A Markdown page: what was measured, each metric with its standard error, a few answers.

    metrics: name -> {value, se, n}, of the model. examples: rows of answer_rows().
    """
    lines = [f"# {about['model']}", "", "| | |", "|---|---|"]
    lines += [f"| {key} | {_cell(value)} |" for key, value in about.items() if key != "model"]
    lines += ["", "| metric | value | standard error | n |", "|---|---:|---:|---:|"]
    for name, entry in metrics.items():
        se = entry.get("se")
        spread = f"{se:.4f}" if se is not None and se == se else ""
        n = "" if entry["n"] is None else entry["n"]
        lines.append(f"| {name} | {entry['value']:.4f} | {spread} | {n} |")
    lines += ["", "Standard errors are over rows.", "", "## Answers", ""]
    lines += ["| split | question | truth | answer |", "|---|---|---|---|"]
    for row in examples:
        texts = (row["split"], row["question"], row["truth"], row["answer"])
        lines.append(f"| {' | '.join(map(_cell, texts))} |")
    return "\n".join(lines) + "\n"


def first_of_each_split(rows: list[dict], count: int) -> list[dict]:
    """The first `count` answers to original questions of each split."""
    return [row for row in rows if row["asked"] == "original" and row["row"] < count]


def _cell(text: str) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")
