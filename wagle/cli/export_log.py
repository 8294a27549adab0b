"""`wagle export-log`: one of our evaluations as open-unlearning's JSON."""

import argparse
from pathlib import Path

from wagle.cli.inputs import read_evaluation

HELP = "write one of our evaluations as open-unlearning's JSON"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("log", help="folder with tokens.parquet and generations.jsonl")
    parser.add_argument("output")
    parser.add_argument("--reference", help="folder of the retrained model's evaluation")


def run(options) -> None:
    from wagle.evaluation import interchange
    from wagle.runtime.files import write_json

    evaluation = read_evaluation(Path(options.log), options.reference)
    write_json(Path(options.output), interchange.to_open_unlearning(*evaluation[:3]))
    print(f"{options.output}: scored in the template {evaluation.template!r}")
