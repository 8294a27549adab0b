"""`wagle validate`: is an experiment's config valid?"""

import argparse

HELP = "check an experiment's YAML file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config")


def run(options) -> None:
    from wagle.experiment import config, grid

    settings = config.load(options.config)
    trials = len(grid.all_trials(settings))
    more = f", {trials} tuning trials" if trials else ""
    print(f"{options.config}: valid, {len(grid.all_cells(settings))} cells{more}")
