"""`wagle harness`: WMDP and MMLU of a checkpoint."""

import argparse
import json

HELP = "WMDP and MMLU through lm-evaluation-harness"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="checkpoint folder")
    parser.add_argument("--tasks", default="wmdp_bio,wmdp_cyber,mmlu")
    parser.add_argument(
        "--data-dir", help="folder with wmdp/ and mmlu/; without it, the hub's data sets"
    )
    parser.add_argument(
        "--limit", type=int, help="questions per task (a slice spread over the whole file)"
    )


def run(options) -> None:
    from wagle.evaluation import harness

    tasks = options.tasks.split(",")
    accuracies = harness.evaluate(
        options.model, tasks, data_dir=options.data_dir, limit=options.limit
    )
    print(json.dumps(accuracies, indent=1))
