"""`wagle paired`: is the difference of two cells more than chance?"""

import argparse
import dataclasses
from pathlib import Path

from wagle.cli.output import print_json
from wagle.errors import WagleError

HELP = "compare two cells of a results folder, over their rows and seeds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", help="such as results/quick")
    parser.add_argument("first", help="cell without its seed, such as npo/dense/ratio-all")
    parser.add_argument("second")
    parser.add_argument("--metric", default="1-Rouge-L")
    parser.add_argument("--protocol", default="wagle")
    parser.add_argument("--level", type=float, default=0.95, help="of the interval")
    parser.add_argument("--json", action="store_true")


def run(options) -> None:
    from wagle.evaluation.cell_values import difference_of

    folders = [Path(options.results) / "metrics" / cell for cell in (options.first, options.second)]
    first, second = (_values(folder, options.protocol, options.metric) for folder in folders)
    result = difference_of(second, first, options.level)
    if options.json:
        print_json({"difference": result.value} | dataclasses.asdict(result))
        return
    print(f"{options.metric}: {options.second} - {options.first}")
    print(f"= {result.value:+.4f} ± {result.se:.4f}, {result.df:.1f} degrees of freedom")
    interval = f"{100 * options.level:g} % interval {result.low:+.4f} to {result.high:+.4f}"
    print(f"{interval}, p = {result.p:.3g}, {result.n_rows} rows, {result.n_seeds} seed(s)")
    print(f"covers {result.covers}")


def _values(folder: Path, protocol: str, metric: str):
    """One cell's metric over its seeds. Raises WagleError where it has no rows."""
    from wagle.evaluation import cell_values

    paths = sorted(folder.glob("seed-*/rows.json")) or [folder / "rows.json"]
    rows = {path.parent.name: cell_values.read(path).get(protocol, {}) for path in paths}
    if any(metric not in metrics for metrics in rows.values()):
        raise WagleError(
            f"{folder} has no per-row {metric!r} under protocol {protocol}",
            f"one of {', '.join(sorted(next(iter(rows.values()))))}",
        )
    of_seeds = {seed: metrics[metric] for seed, metrics in rows.items()}
    return cell_values.cell_values(dict.fromkeys(rows, 0.0), of_seeds)
