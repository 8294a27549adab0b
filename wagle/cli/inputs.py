"""What several commands read: one of our own evaluations, with the retrained model's beside it."""

from pathlib import Path
from typing import Any, NamedTuple


class Evaluation(NamedTuple):
    """One evaluation.

    columns: scores of tokens by column. generations: generated rows. reference: the reference's
    scores, where one is named. template: the template that all of them were made in.
    """

    columns: dict[str, Any]
    generations: list[dict]
    reference: dict[str, Any] | None
    template: str


def read_evaluation(folder: Path, reference: str | None) -> Evaluation:
    """Read an evaluation's folder, and the scores in the folder `reference`.

    Raises WagleError when a file is missing or malformed, or when the reference was scored in
    another template.
    """
    from wagle.data.rows import read_rows
    from wagle.evaluation import scoring

    template = scoring.log_template(folder / "tokens.parquet")
    other = Path(reference) / "tokens.parquet" if reference else None
    return Evaluation(
        columns=scoring.read_log(folder / "tokens.parquet"),
        generations=read_rows(folder / "generations.jsonl"),
        reference=scoring.read_log(other, template) if other else None,
        template=template,
    )
