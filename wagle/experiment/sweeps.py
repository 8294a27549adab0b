"""What figures over evaluated cells have in common: they read the collected metrics.

Standard library only, for Snakemake imports it on every start.
"""

from wagle.experiment.cells import Cell
from wagle.experiment.tasks import task_of

METRICS = {"metrics": [("collected", "metrics.csv")]}


def metric_params(config: dict, options: dict, cells: list[Cell]) -> dict:
    """A figure's own options, the cells that it shows, and the task's utility with its label."""
    task = task_of(config)
    utility = {"utility": task.utility, "utility_label": task.utility_label}
    return utility | options | {"cells": [cell.id for cell in cells]}
