"""The grid of an experiment: which cells exist, and which table or figure shows them.

A cell that a table and a sweep both need exists once.

Notable: standard library only, because Snakemake enumerates the grid on every start. Left out: what
a cell is, and its id (cells.py).
"""

from dataclasses import replace

from wagle.experiment import figures
from wagle.experiment.cells import (
    AUTO,
    BASELINES,
    WITHOUT_SCORE,
    Cell,
    number_gamma,
    ratio_id,
    selection_id,
)
from wagle.experiment.draws import SOURCES, Draw
from wagle.experiment.plugins import score_module
from wagle.experiment.settings import settings_of
from wagle.runtime import identity

AUTO_ESTIMATOR = "rayleigh"  # behind `gamma: auto`


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
    """The cell of `method` with `selection` at `ratio` and `gamma`.

    Without them, the tuned cell where the experiment has tuning; else the ratio of the method with
    this selection, and the selection's own gamma.
    """
    options = config["selections"][selection]
    if "tuning" in config and ratio is None and gamma is None:
        return Cell(method, selection, None, number_gamma(options), seed, tuned=True)
    if selection in WITHOUT_SCORE:
        return Cell(method, selection, None, None, seed)
    ratio = settings_of(config, method, selection).ratio if ratio is None else ratio
    return Cell(method, selection, ratio, number_gamma(options) if gamma is None else gamma, seed)


def table_cells(config: dict) -> list[Cell]:
    """Cells of the main table: baselines, and every method x selection x seed at its own ratio."""
    return baselines(config) + [
        make_cell(config, method, selection, seed)
        for method in config["methods"]
        for selection in config["selections"]
        for seed in config["seeds"]
    ]


def sweep_cells(config: dict, options: dict) -> list[Cell]:
    """Cells of a sweep over `ratios` or `gammas` of one selection; dense cells are included.

    The sweep has one method where `options` names one, else every method, and its own `seeds` or
    the experiment's.
    """
    methods = [options["method"]] if "method" in options else list(config["methods"])
    seeds = options.get("seeds", config["seeds"])
    points = [(ratio, None) for ratio in options.get("ratios", [])]
    points += [(None, gamma) for gamma in options.get("gammas", [])]
    cells = [
        make_cell(config, method, options["selection"], seed, *point)
        for method in methods
        for point in points
        for seed in seeds
    ]
    if "dense" in config["selections"]:
        cells += [make_cell(config, m, "dense", seed) for m in methods for seed in seeds]
    return cells


def example_cells(config: dict) -> list[Cell]:
    """Cells whose answers the examples table shows: baselines, and each method, first seed."""
    options = config.get("examples")
    if not options:
        return []
    seed = config["seeds"][0]
    return baselines(config) + [
        make_cell(config, method, selection, seed)
        for method in config["methods"]
        for selection in options["selections"]
    ]


def compared_cells(config: dict, block: str) -> list[Cell]:
    """Cells of every selection in `comparisons.<block>`, estimators or budgets, with every seed."""
    options = config.get("comparisons", {})
    method = options.get("method", next(iter(config["methods"])))
    return [
        make_cell(config, method, selection, seed)
        for selection in options.get(block, [])
        for seed in config["seeds"]
    ]


def all_cells(config: dict) -> list[Cell]:
    """Every cell of the experiment once, baselines first, then in config order."""
    cells = table_cells(config) + figures.all_cells(config) + example_cells(config)
    cells += compared_cells(config, "estimators") + compared_cells(config, "budgets")
    return list(dict.fromkeys(cells))


def groups(config: dict) -> list[Cell]:
    """What is tuned together, each as a cell without point and seed: every method x selection."""
    return [
        Cell(method, selection, gamma=number_gamma(options))
        for method in config["methods"]
        for selection, options in config["selections"].items()
        if "tuning" in config
    ]


def trial_cells(config: dict, group: Cell) -> list[Cell]:
    """The trials of one group: every point of its grid with every tuning seed."""
    tuning = config["tuning"]
    points = [(None, lr) for lr in tuning["lrs_without_ratio"]]
    if group.has_mask:
        points = [(ratio, lr) for ratio in tuning["ratios"] for lr in tuning["lrs"]]
    return [
        replace(group, ratio=ratio, lr=lr, seed=seed)
        for ratio, lr in points
        for seed in tuning["seeds"]
    ]


def all_trials(config: dict) -> list[Cell]:
    """Every trial of the experiment; none without tuning."""
    return [trial for group in groups(config) for trial in trial_cells(config, group)]


def needs(config: dict, selection: str) -> tuple[str, ...]:
    """What the score of `selection` reads: its module's NEEDS, and the curvature of `gamma: auto`.

    They are among draw, base, curvature_mean, and the keys of draws.SOURCES.
    """
    options = config["selections"][selection]
    read = identity.constant(score_module(selection, options), "NEEDS", ())
    return (*read, "curvature") if options.get("gamma") == AUTO else read


def estimator(config: dict, selection: str) -> str:
    """Name of the curvature estimator that the score of `selection` reads."""
    options = config["selections"][selection]
    return AUTO_ESTIMATOR if options.get("gamma") == AUTO else options["curvature"]


def input_folders(config: dict, selection: str, draw: Draw) -> dict[str, str]:
    """Folder of each file that a score reads, by the need, as far as they are made from rows."""
    return {
        need: draw.folder(need, estimator(config, selection) if need == "curvature" else "")
        for need in needs(config, selection)
        if need in SOURCES
    }


def draw_of(config: dict, cell: Cell) -> Draw:
    """What the score behind a cell's mask is drawn from.

    Retain samples (WAGLE), calibration samples (Wanda), refusals and random scores are drawn for
    each seed.
    """
    chosen = settings_of(config, cell.method, cell.selection)
    read = needs(config, cell.selection)
    return Draw.of(read, cell.seed, chosen.forget_labels, chosen.habits)


def mask_folder(config: dict, cell: Cell) -> str:
    """Folder of a cell's mask below the results folder."""
    selection = selection_id(cell.selection, cell.gamma)
    draw = draw_of(config, cell)
    if cell.tuned:
        return f"masks/{selection}/{draw.name}/tuned/{cell.method}"
    return f"masks/{selection}/{draw.name}/ratio-{ratio_id(cell.ratio)}"
