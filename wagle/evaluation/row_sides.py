"""Rows that tuning trials are judged on, and the others, which reported cells are judged on.

A split's rows are dealt by a hash of seed, split and number, so a row's side does not depend on any
model, and no other order of rows of one author or one kind of question ends on one side.
Notable: it deals the rows of stored logs. One evaluation serves both sides.
"""

import hashlib
from collections.abc import Mapping

import numpy as np

from wagle.errors import WagleError

SIDES = ("trials", "reported")


def side_of_rows(split: str, n: int, share: float, seed: int) -> np.ndarray:
    """Whether trials are judged on each of the `n` rows of `split`; round(share * n) are true.

    Raises WagleError where a side would have no row.
    """
    count = round(share * n)
    if not 0 < count < n:
        raise WagleError(
            f"tuning.rows.share {share:g} of the {n} rows of {split} leaves a side without rows",
            "rows on both sides",
        )
    ranks = [hashlib.sha256(f"{seed}/{split}/{row}".encode()).digest() for row in range(n)]
    result = np.zeros(n, bool)
    result[sorted(range(n), key=ranks.__getitem__)[:count]] = True
    return result


def rows_of_side(logs: Mapping, side: str, share: float, seed: int) -> dict:
    """`logs` of one model with the rows of one side, numbered anew in their order.

    logs: scores and reference (columns with split and row), and generations (a list of entries).
    Raises WagleError for another side, or where a side would have no row.
    """
    if side not in SIDES:
        raise WagleError(f"side {side!r}", " or ".join(SIDES))

    def numbers(pairs) -> dict:
        """New number of each kept (split, row)."""
        sizes: dict[str, int] = {}
        for split, row in pairs:
            sizes[split] = max(sizes.get(split, 0), int(row) + 1)
        result = {}
        for split, n in sizes.items():
            kept = side_of_rows(split, n, share, seed) == (side == "trials")
            result |= {(split, int(row)): i for i, row in enumerate(kept.nonzero()[0])}
        return result

    result = {}
    for name, log in logs.items():
        if isinstance(log, list):
            pairs = [(entry["split"], entry["row"]) for entry in log]
            new = numbers(set(pairs))
            result[name] = [
                entry | {"row": new[pair]}
                for entry, pair in zip(log, pairs, strict=True)
                if pair in new
            ]
        else:
            pairs = list(zip(log["split"], log["row"].tolist(), strict=True))
            new = numbers(set(pairs))
            kept = np.array([pair in new for pair in pairs])
            result[name] = {key: column[kept] for key, column in log.items()}
            rows = [new[pair] for pair in pairs if pair in new]
            result[name]["row"] = np.array(rows, dtype=log["row"].dtype)
    return result
