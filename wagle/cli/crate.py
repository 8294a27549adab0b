"""`wagle crate`: a results folder packed for an archive."""

import argparse
from pathlib import Path

HELP = "pack a results folder, without weights, as an RO-Crate with checksums"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results")
    parser.add_argument("output", help="a .zip, or a new folder")
    parser.add_argument(
        "--licence",
        required=True,
        help="of the results, as an address such as https://spdx.org/licenses/CC-BY-4.0",
    )
    parser.add_argument(
        "--configfile",
        help="the experiment's config; without it, the one that the audit target kept",
    )


def run(options) -> None:
    from wagle.audit import rerun, ro_crate

    config = rerun.read_config(Path(options.results), options.configfile)
    crate = ro_crate.build_crate(options.results, options.output, config, options.licence)
    size = f"{crate.files} files, {crate.bytes / 1e6:.1f} MB"
    print(f"{options.output}: {size}; {crate.left_out} files of weights left out")
