"""The command line: `wagle COMMAND ...`.

Each command is a module of this package with `HELP`, `add_arguments(parser)` and `run(options)`,
which returns the exit code or None for 0. `wagle --help` lists them.

Notable: only the module of the command asked for is imported, and what a command needs of the
library is imported when it runs, so that help and checks start at once. Errors are one line and
exit code 1.
Left out: the pipeline itself, which Snakemake runs.
"""

import argparse
import importlib
import sys

from wagle.errors import WagleError

COMMANDS = (
    "unlearn",
    "new",
    "metrics",
    "export-log",
    "paired",
    "validate",
    "plan",
    "evaluate",
    "inspect",
    "harness",
    "audit",
    "compare",
    "crate",
    "export",
)


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands, or of `command` alone: the others then have no arguments."""
    parser = argparse.ArgumentParser(
        prog="wagle",
        description="Unlearn your own rows; measure, compare and check outside the pipeline.",
    )
    subparsers = parser.add_subparsers(dest="command", required=True)
    for name in COMMANDS:
        if command in (None, name):
            module = importlib.import_module(f"wagle.cli.{name.replace('-', '_')}")
            subparser = subparsers.add_parser(name, help=module.HELP, description=module.HELP)
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
        else:
            subparsers.add_parser(name)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command with `arguments`, by default those of the process; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command = arguments[0] if arguments and arguments[0] in COMMANDS else None
    options = build_parser(command).parse_args(arguments)
    try:
        return options.run(options) or 0
    except WagleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 0


if __name__ == "__main__":
    sys.exit(main())
