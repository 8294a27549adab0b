"""A scoring log as metrics read it: by split, row and role.

wagle/evaluation/scoring.py writes it.
"""

import itertools

import numpy as np

from wagle.errors import WagleError
from wagle.evaluation.metrics import finite


class Log:
    """A scoring log by text: `texts[(split, row, role)]` -> the text's slice of each column."""

    def __init__(self, columns: dict[str, np.ndarray]):
        self.columns = columns
        key = list(zip(columns["split"], columns["row"].tolist(), columns["role"], strict=True))
        starts = [0, *[i for i in range(1, len(key)) if key[i] != key[i - 1]], len(key)]
        self.texts = {key[a]: slice(a, b) for a, b in itertools.pairwise(starts) if b > a}
        self.rows: dict[str, int] = {}
        for split, row, _ in self.texts:
            self.rows[split] = max(self.rows.get(split, 0), row + 1)

    def column(self, name: str, split: str, row: int, role: str) -> np.ndarray:
        try:
            return self.columns[name][self.texts[split, row, role]]
        except KeyError:
            raise WagleError(
                f"the log has no {role!r} of {split} row {row}", "a log scored for this protocol"
            ) from None

    def in_span(self, split: str, row: int, role: str, span: str) -> np.ndarray:
        inside = self.column("in_span", split, row, role)
        if span == "answer+eos":
            return inside
        flags = inside & ~self.column("is_eos", split, row, role)
        first = int(np.argmax(inside))
        if first > 0:
            flags = flags.copy()
            flags[first - 1] = True  # the last prompt token
        return flags

    def loss(self, split: str, row: int, role: str, span: str = "answer+eos") -> float:
        """Mean loss over the span in nats. Raises WagleError for an empty span."""
        values = self.column("log_prob", split, row, role)[self.in_span(split, row, role, span)]
        return -float(finite(f"answer span of {split} row {row}", values.astype(np.float64)).mean())

    def attacked(self, split: str, row: int, eos: bool) -> np.ndarray:
        """Log-probabilities of the whole text of a row's answer, with or without its EOS."""
        values = self.column("log_prob", split, row, "answer")
        return values if eos else values[~self.column("is_eos", split, row, "answer")]

    def number(self, split: str, limit: int | None) -> int:
        if split not in self.rows:
            raise WagleError(f"the log has no split {split!r}; it has {', '.join(self.rows)}")
        return min(self.rows[split], limit or self.rows[split])

    def perturbed(self, split: str, row: int, tag: str) -> list[str]:
        roles, k = [], 0
        while (split, row, f"perturbed{k}{tag}") in self.texts:
            roles.append(f"perturbed{k}{tag}")
            k += 1
        return roles
