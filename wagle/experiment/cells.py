"""A cell: one evaluated model, the original, the retrained one, or the outcome of (method, selection, ratio, gamma, seed).

Its id is its path below every stage's folder, so a path says what a file is.
Notable: `ratio` is the fraction of weights that are UPDATED; sparsity = 1 - ratio. Standard library only.
"""

import re
from dataclasses import dataclass

WITHOUT_SCORE = ("dense", "lora")  # selections that need no score and no mask
BASELINES = ("original", "retrained")


@dataclass(frozen=True)
class Cell:
    """One evaluated model. Baselines have only a method, their own name; dense and lora have no ratio to choose.

    `lr` is a tuning trial's learning rate; other cells have their method's or selection's own.
    `tuned` cells take ratio and learning rate from their tuning's outcome (docs/tuning.md).
    """

    method: str
    selection: str = ""
    ratio: float | None = None
    gamma: float | None = None
    seed: int | None = None
    lr: float | None = None
    tuned: bool = False

    @property
    def id(self) -> str:
        if self.method in BASELINES:
            return self.method
        point = "tuned" if self.tuned else f"ratio-{ratio_id(self.ratio)}"
        trial = "" if self.lr is None else f"/lr-{float(self.lr)!r}"
        return f"{self.group}/{point}{trial}/seed-{self.seed}"

    @property
    def group(self) -> str:
        """Method and selection: what is tuned together."""
        return f"{self.method}/{selection_id(self.selection, self.gamma)}"

    @property
    def has_mask(self) -> bool:
        return self.method not in BASELINES and self.selection not in WITHOUT_SCORE

    @classmethod
    def parse(cls, text: str) -> "Cell":
        if text in BASELINES:
            return cls(text)
        match = re.fullmatch(
            r"([^/]+)/([^/@]+)(?:@gamma-([^/]+))?/(?:tuned|ratio-([^/]+)(?:/lr-([^/]+))?)/seed-(\d+)",
            text,
        )
        if not match:
            raise ValueError(f"{text!r} is not a cell's id")
        method, selection, gamma, ratio, lr, seed = match.groups()
        return cls(
            method,
            selection,
            float(ratio) if ratio and ratio != "all" else None,
            gamma and float(gamma),
            int(seed),
            lr and float(lr),
            ratio is None,
        )


def ratio_id(ratio: float | None) -> str:
    return "all" if ratio is None else repr(float(ratio))


def selection_id(selection: str, gamma: float | None = None) -> str:
    return selection if gamma is None else f"{selection}@gamma-{float(gamma)!r}"
