"""`wagle audit`: is a results folder whole, where does a number come from, does it come out again?

Notable: the exit code is 1 where the audit found problems, and 3 where results are only stale.
With --cell or --rerun it is 1 where a file or a job is not as it must be.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

HELP = "is a results folder what its records say, and do they fit each other and the code?"
EXIT_CODES = {"clean": 0, "problems": 1, "stale": 3}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", help="such as results/quick")
    parser.add_argument(
        "--cell",
        help="where one number comes from, such as 'npo wagle retain-acc' "
        "(also ratio=, seed=, protocol=)",
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--rerun",
        type=int,
        metavar="N",
        help="run N jobs, sampled at random, again in a scratch folder and compare",
    )
    parser.add_argument("--seed", type=int, default=0, help="of that sample")
    parser.add_argument(
        "--configfile",
        help="the experiment's config for --rerun; without it, the one that the audit target kept",
    )
    parser.add_argument("--limit", type=int, default=10, help="paths listed of each class")


def run(options) -> int:
    if options.cell:
        return _trace(options)
    if options.rerun:
        return _rerun(options)
    from wagle.audit import summary
    from wagle.audit.check import audit_folder

    audit = audit_folder(options.results)
    if options.json:
        print(json.dumps(summary.as_json(audit), indent=1))
    else:
        print(summary.as_text(audit, options.limit), end="")
    return EXIT_CODES[audit.verdict]


def _trace(options) -> int:
    from wagle.audit import lineage

    number = lineage.trace_number(options.results, options.cell)
    if options.json:
        print(json.dumps(lineage.as_json(number), indent=1))
    else:
        print(lineage.as_text(number), end="")
    return 0 if number.is_intact else 1


def _rerun(options) -> int:
    from wagle.audit import rerun

    parent = Path(options.results).resolve().parent
    place = parent if os.access(parent, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="rerun-", dir=place) as scratch:
        outcomes = rerun.rerun_jobs(
            options.results,
            options.rerun,
            seed=options.seed,
            configfile=options.configfile,
            scratch=Path(scratch),
        )
    if options.json:
        print(json.dumps([outcome._asdict() for outcome in outcomes], indent=1))
    else:
        print(rerun.as_text(outcomes), end="")
    return 0 if all(outcome.is_good for outcome in outcomes) else 1
