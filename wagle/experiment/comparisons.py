"""Which masks, curvatures and cells the tables of the block `comparisons` show.

Standard library only, for Snakemake asks on every start.
"""

from wagle.experiment import grid
from wagle.experiment.cells import Cell, selection_id

Files = list[tuple[str, str]]  # (folder, file) below the results folder


def masks(config: dict, block: str, file: str) -> Files:
    """A file of the mask behind each of grid.compared_cells(), in their order."""
    return [(grid.mask_folder(config, cell), file) for cell in grid.compared_cells(config, block)]


def curvatures(config: dict, file: str) -> Files:
    """A file of the curvature behind each cell of the estimators, in their order.

    A selection whose gamma is a number has none, and is left out.
    """
    estimated = [c for c in grid.compared_cells(config, "estimators") if has_curvature(config, c)]
    folders = (
        grid.draw_of(config, cell).folder("curvature", grid.estimator(config, cell.selection))
        for cell in estimated
    )
    return [(folder, file) for folder in folders]


def has_curvature(config: dict, cell: Cell) -> bool:
    """Whether the score behind a cell's mask reads an estimate."""
    return "curvature" in grid.needs(config, cell.selection)


def scores(config: dict, file: str) -> Files:
    """A file of the score behind each cell of the estimators, in their order."""
    return [
        (
            f"scores/{selection_id(cell.selection, cell.gamma)}/{grid.draw_of(config, cell).name}",
            file,
        )
        for cell in grid.compared_cells(config, "estimators")
    ]
