"""A cell: one evaluated model.

It is the original model, the retrained one, or the result of unlearning with one method, selection,
ratio, gamma and seed. Its id is its path below every stage's folder, so a path says what a file is.

Notable: `ratio` is the fraction of weights that are UPDATED; sparsity = 1 - ratio. Standard library
only. Left out: which cells an experiment has (grid.py).
"""

import re
from dataclasses import dataclass

WITHOUT_SCORE = ("dense", "lora")  # selections that need no score and no mask
BASELINES = ("original", "retrained")
AUTO = "auto"  # the gamma that is computed from the model: docs/curvature.md


@dataclass(frozen=True)
class Cell:
    """One evaluated model.

    A baseline has only a method, its own name. The selections dense and lora have no ratio.
    `lr` is a tuning trial's learning rate; other cells have their method's or selection's own.
    A `tuned` cell takes ratio and learning rate from the outcome of its tuning (docs/tuning.md).
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
        """Its path below a stage's folder, such as `npo/wagle@gamma-1e-06/ratio-0.8/seed-0`."""
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
        """Whether a mask selects the weights that it updates."""
        return self.method not in BASELINES and self.selection not in WITHOUT_SCORE

    @classmethod
    def parse(cls, cell_id: str) -> "Cell":
        """The cell with this id. Raises ValueError for any other text."""
        if cell_id in BASELINES:
            return cls(cell_id)
        point = r"(?:tuned|ratio-([^/]+)(?:/lr-([^/]+))?)"
        match = re.fullmatch(rf"([^/]+)/([^/@]+)(?:@gamma-([^/]+))?/{point}/seed-(\d+)", cell_id)
        if not match:
            raise ValueError(f"{cell_id!r} is not a cell's id")
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


def number_gamma(options: dict) -> float | None:
    """The gamma of a selection's `options`, as ids have it: None without one, and for `auto`."""
    gamma = options.get("gamma")
    return None if gamma == AUTO else gamma


def ratio_id(ratio: float | None) -> str:
    """A ratio as ids spell it; `all` where there is none."""
    return "all" if ratio is None else repr(float(ratio))


def selection_id(selection: str, gamma: float | None = None) -> str:
    """A selection as ids spell it, with its gamma where it has one."""
    return selection if gamma is None else f"{selection}@gamma-{float(gamma)!r}"
