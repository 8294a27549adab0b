"""The grid of an experiment: which cells exist, what each is called, which table or figure shows it.

A cell is one evaluated model: the original, the retrained one, or the outcome of (method, selection, ratio, gamma,
seed). Its id is its path below every stage's folder, so a path says what a file is. Cells are sets: one that a table and a
sweep both need exists once.

Notable: `ratio` is the fraction of weights that are UPDATED; sparsity = 1 - ratio.
Standard library only, for Snakemake enumerates the grid on every start.
"""

from wagle import identity
from wagle.cells import BASELINES, WITHOUT_SCORE, Cell
from wagle.config import score_module


def make_cell(config: dict, method: str, selection: str, seed: int, ratio: float | None = None) -> Cell:
    """The cell of `method` with `selection` at `ratio` (default: the method's own)."""
    options = config["selections"][selection]
    if selection in WITHOUT_SCORE:
        return Cell(method, selection, None, None, seed)
    return Cell(method, selection, config["methods"][method]["ratio"] if ratio is None else ratio, options.get("gamma"), seed)


def table_cells(config: dict) -> list[Cell]:
    """Cells of Table 1: both baselines and every method x selection x seed at the method's ratio."""
    cells = [Cell(name) for name in BASELINES]
    for method in config["methods"]:
        for selection in config["selections"]:
            cells += [make_cell(config, method, selection, seed) for seed in config["seeds"]]
    return cells


def sweep_cells(config: dict, figure: str) -> list[Cell]:
    """Cells of a ratio sweep (`sparsity_sweep`: one method; `ratio_sweep`: every method), dense included."""
    block = config["figures"].get(figure)
    if not block:
        return []
    methods = [block["method"]] if "method" in block else list(config["methods"])
    seeds = block.get("seeds", config["seeds"])
    cells = [make_cell(config, m, block["selection"], s, r) for m in methods for r in block["ratios"] for s in seeds]
    if "dense" in config["selections"]:
        cells += [make_cell(config, method, "dense", seed) for method in methods for seed in seeds]
    return cells


def all_cells(config: dict) -> list[Cell]:
    """Every cell of the experiment once, baselines first, then in config order."""
    cells = table_cells(config)
    for figure in ("sparsity_sweep", "ratio_sweep"):
        cells += sweep_cells(config, figure)
    return list(dict.fromkeys(cells))


def needs(config: dict, selection: str) -> tuple[str, ...]:
    """What the score of `selection` reads: its module's NEEDS, among weights, activations, forget, retain, draw."""
    return identity.constant(score_module(selection, config["selections"][selection]), "NEEDS", ())


def draw(config: dict, selection: str, seed: int) -> str:
    """Name of the random draw behind a score: the seed where the score depends on it, else `all`.

    Retain samples (WAGLE), calibration samples (Wanda) and random scores are drawn anew for each seed.
    """
    seeded = {"retain", "activations", "draw"} & set(needs(config, selection))
    return f"seed-{seed}" if seeded else "all"
