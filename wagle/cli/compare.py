"""`wagle compare`: two results folders side by side.

Notable: with --bytes the exit code is 1 where a file differs that does not measure the run itself.
"""

import argparse
import dataclasses
import json

from wagle.cli.output import print_json

HELP = "two results folders: numbers that differ, and what was done differently"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument(
        "--bytes",
        action="store_true",
        help="compare every artifact's bytes; exit code 1 where any differ",
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--limit", type=int, default=20, help="lines of each kind")


def run(options) -> int:
    if options.bytes:
        return _compare_bytes(options)
    from wagle.audit import compare
    from wagle.audit.record_changes import changed_conditions

    comparison = compare.compare_numbers(options.first, options.second)
    changes = changed_conditions(options.first, options.second)
    if options.json:
        print_json(dataclasses.asdict(comparison) | {"done_differently": changes})
    else:
        folders = (options.first, options.second)
        print(compare.as_text(*folders, comparison, changes, limit=options.limit), end="")
    return 0


def _compare_bytes(options) -> int:
    from wagle.audit.record_changes import compare_bytes

    comparison = compare_bytes(options.first, options.second)
    different, measured = comparison.different, comparison.measured
    exit_code = 1 if different else 0
    if options.json:
        print(json.dumps(dataclasses.asdict(comparison), indent=1))
        return exit_code
    for folder, count in sorted(comparison.alike.items()):
        print(f"{count:8d} files alike under {folder}")
    for path in different:
        print(f"different: {path}")
    for path in measured:
        print(f"different, as it measures the run: {path}")
    alike = f"{sum(comparison.alike.values())} alike"
    print(f"{alike}, {len(different)} different, {len(measured)} that measure the run")
    return exit_code
