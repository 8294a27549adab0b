"""`wagle export`: one unlearned model with its card."""

import argparse

HELP = "copy one unlearned model out, with a model card"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results")
    parser.add_argument(
        "cell",
        help="id of a cell whose checkpoint was kept, "
        "such as npo/wagle@gamma-1e-06/ratio-0.8/seed-1",
    )
    parser.add_argument("folder", help="a new folder")
    parser.add_argument("--licence", required=True, help="of the model, such as apache-2.0")


def run(options) -> None:
    from wagle.audit.model_card import export_model

    print(export_model(options.results, options.cell, options.folder, options.licence))
