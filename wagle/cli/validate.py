"""`wagle validate`: are an experiment's config and everything that it points at in order?"""

import argparse
import sys

from wagle.errors import WagleError

HELP = "check an experiment's YAML file, its data files and its model folders"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config")
    parser.add_argument(
        "--config",
        dest="overrides",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="replaces a key, as in snakemake: data_dir=/path/to/data",
    )


def run(options) -> None:
    from wagle.experiment import config, grid, preflight

    overrides = dict(map(_override, options.overrides))
    settings = config.load(options.config, overrides=overrides)
    for warning in preflight.check_inputs(settings, options.config):
        print(f"warning: {warning}.", file=sys.stderr)
    trials = len(grid.all_trials(settings))
    more = f", {trials} tuning trials" if trials else ""
    print(f"{options.config}: valid, {len(grid.all_cells(settings))} cells{more}")


def _override(text: str) -> tuple[str, object]:
    import yaml

    key, equals, value = text.partition("=")
    try:
        return key, yaml.safe_load(value) if equals else _raise_no_override(text)
    except yaml.YAMLError:
        return key, value


def _raise_no_override(text: str) -> None:
    raise WagleError(f"--config {text}", "KEY=VALUE, such as data_dir=/path/to/data")
