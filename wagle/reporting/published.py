"""The paper's own cells beside ours. A cell that nobody has read off the paper yet is blank, and stays blank here.

wagle/assets/published/<table>.csv has one row a cell: method, selection, metric, value, source (where the number was read).
"""

from pathlib import Path

import pandas as pd

from wagle.errors import WagleError
from wagle.experiment.tasks import Task
from wagle.runtime import assets

COLUMNS = ["method", "selection", "metric", "value", "source"]
KEYS = ["method", "selection", "metric"]


def of_task(task: Task) -> pd.DataFrame:
    """The published cells of the task's main table; none where it has no such file."""
    if task.published is None:
        return pd.DataFrame({name: [] for name in COLUMNS})
    return read(assets.path(f"published/{task.published}", "table of published cells"))


def read(path: str | Path) -> pd.DataFrame:
    """The published cells of one file.

    Raises WagleError for missing columns, a value without a source, or a cell given twice.
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
    twice = frame[frame.duplicated(KEYS)]
    if len(twice):
        raise WagleError(
            f"{path} has two rows for {' '.join(map(str, twice[KEYS].iloc[0]))}", "one row a cell"
        )
    return frame


def beside(summary: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """One row a cell that either side has: method, selection, metric, published, ours, se (over seeds), difference, source."""
    ours = summary[summary["selection"] != ""][[*KEYS, "mean", "se"]].rename(
        columns={"mean": "ours"}
    )
    found = published.rename(columns={"value": "published"}).merge(
        ours, on=KEYS, how="outer", sort=False
    )
    found["difference"] = found["ours"] - found["published"]
    known = (
        pd.concat([published[KEYS], ours[KEYS]])
        .drop_duplicates()
        .itertuples(index=False, name=None)
    )
    order = {key: i for i, key in enumerate(known)}
    rank = [order[tuple(row)] for row in found[KEYS].itertuples(index=False)]
    return (
        found.assign(_o=rank)
        .sort_values("_o")[[*KEYS, "published", "ours", "se", "difference", "source"]]
        .reset_index(drop=True)
    )
