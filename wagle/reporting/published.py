"""The paper's own cells beside ours.

wagle/assets/published/<table>.csv has one row per cell: method, selection, metric, value, and the
source in which the value was read.

Notable: a value that nobody has read off the paper yet is blank, and stays blank here. Left out:
judging the differences (claims.py).
"""

from pathlib import Path

import pandas as pd

from wagle.errors import WagleError
from wagle.experiment.tasks import Task
from wagle.runtime import assets

COLUMNS = ["method", "selection", "metric", "value", "source"]
KEYS = ["method", "selection", "metric"]


def of_task(task: Task) -> pd.DataFrame:
    """The published cells of the task's main table; no rows where the task has no such file."""
    if task.published is None:
        return pd.DataFrame({name: [] for name in COLUMNS})
    return read(assets.path(f"published/{task.published}", "table of published cells"))


def read(path: str | Path) -> pd.DataFrame:
    """The published cells of one file.

    Raises WagleError for missing columns, a value without a source, or two rows of a cell.
    """
    path = Path(path)
    try:
        frame = pd.read_csv(path, dtype={"source": "string", "selection": "string"})
        frame["value"] = frame["value"].astype(float)
    except (OSError, ValueError, KeyError) as error:
        raise WagleError(
            f"{path} cannot be read: {error}", f"a CSV with the columns {', '.join(COLUMNS)}"
        ) from None
    if list(frame.columns) != COLUMNS:
        raise WagleError(f"{path} has the columns {', '.join(frame.columns)}", ", ".join(COLUMNS))
    unsourced = frame[frame["value"].notna() & frame["source"].isna()]
    if len(unsourced):
        raise WagleError(
            f"{path}: a value without a source ({' '.join(unsourced[KEYS].iloc[0])})",
            "table and version of the paper",
        )
    duplicates = frame[frame.duplicated(KEYS)]
    if len(duplicates):
        cell = " ".join(map(str, duplicates[KEYS].iloc[0]))
        raise WagleError(f"{path} has two rows for {cell}", "one row a cell")
    return frame


def beside(summary: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """One row per cell that either side has, in the published order, then in ours.

    The columns are method, selection, metric, published, ours, se (over seeds), difference, source.
    """
    ours = summary[summary["selection"] != ""][[*KEYS, "mean", "se"]]
    ours = ours.rename(columns={"mean": "ours"})
    merged = published.rename(columns={"value": "published"})
    merged = merged.merge(ours, on=KEYS, how="outer", sort=False)
    merged["difference"] = merged["ours"] - merged["published"]
    cells = pd.concat([published[KEYS], ours[KEYS]]).drop_duplicates()
    rank = {cell: i for i, cell in enumerate(cells.itertuples(index=False, name=None))}
    merged["rank"] = [rank[cell] for cell in merged[KEYS].itertuples(index=False, name=None)]
    columns = [*KEYS, "published", "ours", "se", "difference", "source"]
    return merged.sort_values("rank")[columns].reset_index(drop=True)
