"""Figures found by name: which module draws a figure, which cells it needs, which files it reads.

A figure is a module, one of wagle/figures/ or, with `module:` in the config, any other. It holds

    CAPTION, SIZE            its caption, and width and height in inches
    cells(config, options)   cells that must be evaluated for it (may be empty)
    inputs(config, options)  name -> [(folder, file), ...] below the results folder
    params(config, options)  what `table` and `draw` need to know besides the files, as JSON values
    table(files, params)     the numbers that are drawn, as a data frame
    draw(figure, data, params)   on a matplotlib figure

`options` is the figure's own block under `figures`. Notable: Snakemake imports these modules on
every start, so they import pandas and matplotlib inside `table` and `draw`.
"""

import importlib
from types import ModuleType

from wagle.errors import WagleError
from wagle.experiment.cells import Cell
from wagle.runtime.handover import PACKAGE

INTERFACE = ("CAPTION", "SIZE", "cells", "inputs", "params", "table", "draw")


def module_name(name: str, options: dict) -> str:
    """Import name of the module of figure `name`."""
    return options.get("module", f"wagle.figures.{name}")


def load(name: str, options: dict) -> ModuleType:
    """The module of figure `name`.

    Raises WagleError when it cannot be imported or is incomplete.
    """
    try:
        module = importlib.import_module(module_name(name, options))
    except ImportError as error:
        raise WagleError(f"figures.{name} cannot be imported: {error}") from None
    missing = [name for name in INTERFACE if not hasattr(module, name)]
    if missing:
        raise WagleError(
            f"{module.__name__} has no {', '.join(missing)}", "the interface of docs/extending.md"
        )
    return module


def known() -> list[str]:
    """Names of the figures in wagle/figures/."""
    folder = PACKAGE / "figures"
    return sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")


def cells_of(config: dict, name: str) -> list[Cell]:
    """Cells of figure `name`; none where the experiment does not have it."""
    options = config["figures"].get(name)
    return [] if options is None else load(name, options).cells(config, options)


def all_cells(config: dict) -> list[Cell]:
    """Cells of every figure; a cell of two figures is there twice."""
    return [cell for name in config["figures"] for cell in cells_of(config, name)]
