"""`wagle metrics`: the metrics of one evaluation, ours or another project's."""

import argparse
from pathlib import Path

from wagle.cli.inputs import read_evaluation
from wagle.cli.output import print_json
from wagle.errors import WagleError

HELP = "metrics of an evaluation: our folder, TOFU's aggregated log or open-unlearning's JSON"
PROTOCOLS = ("wagle", "wagle-code", "tofu", "open-unlearning")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("log")
    parser.add_argument(
        "--reference", help="the retrained model's evaluation of the same kind (forget quality)"
    )
    parser.add_argument("--protocol", choices=PROTOCOLS)
    parser.add_argument("--json", action="store_true")


def run(options) -> None:
    from wagle.evaluation import interchange, protocols

    path, about = Path(options.log), {}
    if path.is_dir():  # one of our own evaluations
        protocol = options.protocol or "wagle"
        evaluation = read_evaluation(path, options.reference)
        metrics = protocols.evaluate(protocol, *evaluation[:3])
        about = {"template": evaluation.template}
    else:
        protocol, metrics = interchange.log_metrics(path, options.reference)
        if options.protocol not in (None, protocol):
            raise WagleError(f"{path} is a log of {protocol}", f"no --protocol, or {protocol}")
    if options.json:
        print_json({"protocol": protocol} | about | {"metrics": _without_rows(metrics)})
        return
    print(f"protocol: {protocol}")
    if about:
        print(f"scored in the template: {about['template']!r}")
    for name, entry in metrics.items():
        print(_line(name, entry))


def _without_rows(metrics: dict[str, dict]) -> dict[str, dict]:
    return {
        name: {key: value for key, value in entry.items() if key != "rows"}
        for name, entry in metrics.items()
    }


def _line(name: str, entry: dict) -> str:
    se = entry.get("se")
    spread = f" ± {se:.4f}" if se is not None and se == se else ""
    rows = "" if entry["n"] is None else f"  (n = {entry['n']})"
    return f"{name:28s} {entry['value']:.6g}{spread}{rows}"
