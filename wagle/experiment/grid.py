"""The grid of an experiment: which cells exist, what each is called, which table or figure shows it.

A cell is one evaluated model: the original, the retrained one, or the outcome of (method, selection, ratio, gamma,
seed). Its id is its path below every stage's folder, so a path says what a file is. Cells are sets: one that a table and a
sweep both need exists once.

Notable: `ratio` is the fraction of weights that are UPDATED; sparsity = 1 - ratio.
Standard library only, for Snakemake enumerates the grid on every start.
"""

from wagle.experiment.cells import BASELINES, WITHOUT_SCORE, Cell
from wagle.experiment.config import score_module
from wagle.runtime import identity

SWEEPS = ("sparsity_sweep", "ratio_sweep", "gamma_sweep")


def baselines(config: dict) -> list[Cell]:
    """The original model, and the retrained one where the experiment has it."""
    return [Cell(name) for name in BASELINES if name == "original" or name in config["models"]]


def make_cell(
    config: dict,
    method: str,
    selection: str,
    seed: int,
    ratio: float | None = None,
    gamma: float | None = None,
) -> Cell:
    """The cell of `method` with `selection` at `ratio` and `gamma` (defaults: the method's and the selection's own)."""
    options = config["selections"][selection]
    if selection in WITHOUT_SCORE:
        return Cell(method, selection, None, None, seed)
    ratio = config["methods"][method]["ratio"] if ratio is None else ratio
    return Cell(method, selection, ratio, options.get("gamma") if gamma is None else gamma, seed)


def table_cells(config: dict) -> list[Cell]:
    """Cells of the main table: baselines and every method x selection x seed at the method's ratio."""
    cells = baselines(config)
    for method in config["methods"]:
        for selection in config["selections"]:
            cells += [make_cell(config, method, selection, seed) for seed in config["seeds"]]
    return cells


def sweep_cells(config: dict, figure: str) -> list[Cell]:
    """Cells of a sweep over ratios or gammas, of one method where it names one, else of every method; dense included."""
    block = config["figures"].get(figure)
    if not block:
        return []
    methods = [block["method"]] if "method" in block else list(config["methods"])
    seeds = block.get("seeds", config["seeds"])
    points = [(ratio, None) for ratio in block.get("ratios", [])] + [
        (None, gamma) for gamma in block.get("gammas", [])
    ]
    cells = [
        make_cell(config, m, block["selection"], s, *point)
        for m in methods
        for point in points
        for s in seeds
    ]
    if "dense" in config["selections"]:
        cells += [make_cell(config, method, "dense", seed) for method in methods for seed in seeds]
    return cells


def precision_cells(config: dict) -> list[Cell]:
    """Cells of the precision figure: its methods (which differ in precision and learning rate) x its selections."""
    block = config["figures"].get("precision")
    if not block:
        return []
    return [
        make_cell(config, m, s, seed)
        for m in block["methods"]
        for s in block["selections"]
        for seed in config["seeds"]
    ]


def example_cells(config: dict) -> list[Cell]:
    """Cells whose answers the examples table shows: baselines, and each method with its selections, first seed."""
    block = config.get("examples")
    if not block:
        return []
    seed = config["seeds"][0]
    return baselines(config) + [
        make_cell(config, m, s, seed) for m in config["methods"] for s in block["selections"]
    ]


def all_cells(config: dict) -> list[Cell]:
    """Every cell of the experiment once, baselines first, then in config order."""
    cells = table_cells(config)
    for figure in SWEEPS:
        cells += sweep_cells(config, figure)
    return list(dict.fromkeys(cells + precision_cells(config) + example_cells(config)))


def needs(config: dict, selection: str) -> tuple[str, ...]:
    """What the score of `selection` reads: its module's NEEDS, among weights, activations, forget, retain, draw."""
    return identity.constant(score_module(selection, config["selections"][selection]), "NEEDS", ())


def draw(config: dict, selection: str, seed: int) -> str:
    """Name of the random draw behind a score: the seed where the score depends on it, else `all`.

    Retain samples (WAGLE), calibration samples (Wanda) and random scores are drawn anew for each seed.
    """
    seeded = {"retain", "activations", "draw"} & set(needs(config, selection))
    return f"seed-{seed}" if seeded else "all"
