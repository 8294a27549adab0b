"""What several commands read: one of our own evaluations, with the retrained model's beside it."""

from pathlib import Path
from typing import Any, NamedTuple


class Evaluation(NamedTuple):
    """Scores of tokens by column, generated rows, and the reference's scores where one is named."""

    columns: dict[str, Any]
    generations: list[dict]
    reference: dict[str, Any] | None


def read_evaluation(folder: Path, reference: str | None) -> Evaluation:
    """Read an evaluation's folder, and the scores in the folder `reference`.

    Raises WagleError when a file is missing or malformed.
    """
    from wagle.data.rows import read_rows
    from wagle.evaluation import scoring

    return Evaluation(
        columns=scoring.read_log(folder / "tokens.parquet"),
        generations=read_rows(folder / "generations.jsonl"),
        reference=scoring.read_log(Path(reference) / "tokens.parquet") if reference else None,
    )
