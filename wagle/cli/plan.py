"""`wagle plan`: what an experiment will take, before it runs."""

import argparse

HELP = "what an experiment will take: memory, FLOPs, disk and time by stage, from the model's shape"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config")
    parser.add_argument(
        "--data-dir",
        default=".",
        help="stands in for the config's data_dir where that is not set; nothing is read",
    )
    parser.add_argument(
        "--tokens", type=int, default=75, help="mean tokens of a text (TOFU: 59 to 75)"
    )
    parser.add_argument(
        "--fraction", type=float, default=0.4, help="achieved share of a GPU's peak"
    )
    parser.add_argument("--disk", type=float, default=1.0, help="GB/s")


def run(options) -> None:
    from wagle.experiment import config, plan

    settings = config.load(options.config, data_dir=options.data_dir)
    print(
        plan.as_text(
            settings,
            options.config,
            tokens=options.tokens,
            fraction=options.fraction,
            disk_speed=options.disk * 1e9,
        )
    )
