"""What figures over masks have in common: masks of some selections at one ratio, of one method
and the first seed.

Standard library only, for Snakemake imports it on every start.
"""

from wagle.experiment import grid


def mask_tables(config: dict, options: dict) -> list[tuple[str, str]]:
    """(folder, file) of the density table of each of the figure's selections."""
    method, seed = options.get("method", next(iter(config["methods"]))), config["seeds"][0]
    masks = [
        grid.make_cell(config, method, selection, seed, options["ratio"])
        for selection in options["selections"]
    ]
    return [(grid.mask_folder(config, mask), "density.csv") for mask in masks]
