"""The rows behind a gradient: all forget rows, or as many retain rows drawn with the cell's seed.

Gradients, their squares and curvatures of one seed see the same retain rows. An estimate from fewer
rows sees the first of the draw, so that a larger number adds rows and takes none away.
"""

from collections.abc import Mapping
from typing import NamedTuple

from wagle.attribution.score_inputs import retain_sample
from wagle.data.rows import read_rows


class SideRows(NamedTuple):
    """Rows, and the refusals that replace their answers (None: the answers stay)."""

    rows: list[dict]
    refusals: list[str] | None


def side_rows(
    source: str,
    files: Mapping[str, str],
    *,
    seed: int | None,
    with_replacement: bool,
    limit: int | None = None,
) -> SideRows:
    """The rows of `source`: forget, forget-refusal or retain.

    files: forget_rows, and retain_rows or refusals_rows as the source needs them. seed: of the
    retain draw. with_replacement: a row may be drawn twice; it must, where there are too few.
    limit: most retain rows; None: as many as there are forget rows.
    """
    rows = read_rows(files["forget_rows"])
    if source == "retain":
        retain = read_rows(files["retain_rows"])
        return SideRows(retain_sample(retain, len(rows), seed, with_replacement, limit), None)
    if source == "forget-refusal":
        return SideRows(rows, [row["text"] for row in read_rows(files["refusals_rows"])])
    return SideRows(rows, None)
