"""`wagle paired`: is the difference of two cells more than chance, row by row?"""

import argparse
import json
from pathlib import Path

from wagle.errors import WagleError

HELP = "compare two cells of a results folder row by row, over all their seeds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", help="such as results/quick")
    parser.add_argument("first", help="cell without its seed, such as npo/dense/ratio-all")
    parser.add_argument("second")
    parser.add_argument("--metric", default="1-Rouge-L")
    parser.add_argument("--protocol", default="wagle")
    parser.add_argument("--json", action="store_true")


def run(options) -> None:
    from wagle.evaluation.statistics import paired

    folders = [Path(options.results) / "metrics" / cell for cell in (options.first, options.second)]
    values = [_row_values(folder, options.protocol, options.metric) for folder in folders]
    result = paired(*values)
    if options.json:
        print(json.dumps(result._asdict()))
        return
    difference = f"{options.second} - {options.first} = {result.difference:+.4f}"
    print(f"{options.metric}: {difference} ± {result.se:.4f}")
    interval = f"95 % interval {result.low:+.4f} to {result.high:+.4f}"
    print(f"{interval}, p = {result.p:.3g}, {result.rows} rows, {result.seeds} seed(s)")


def _row_values(folder: Path, protocol: str, metric: str) -> list[list[float]]:
    """Per-row values of one cell's metric, a list for each seed."""
    from wagle.runtime.files import LARGE_LIMIT, read_json

    files = sorted(folder.glob("seed-*/rows.json")) or [folder / "rows.json"]
    seeds = [read_json(file, limit=LARGE_LIMIT, strict=False).get(protocol, {}) for file in files]
    if any(metric not in rows for rows in seeds):
        raise WagleError(
            f"{folder} has no per-row {metric!r} under protocol {protocol}",
            f"one of {', '.join(sorted(seeds[0]))}",
        )
    return [rows[metric] for rows in seeds]
