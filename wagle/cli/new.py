"""`wagle new`: a complete, commented experiment file."""

import argparse
from pathlib import Path

HELP = "write a complete, commented experiment file for a model and a data folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="the experiment's name; results lie below results/NAME/")
    parser.add_argument("--task", required=True, help="tofu, wmdp, whp, detox or custom")
    parser.add_argument("--model", required=True, help="a model folder, or a name of the hub")
    parser.add_argument("--data", required=True, help="the folder with the data files")
    parser.add_argument("--out", help="the file to write; default: NAME.yaml")
    parser.add_argument(
        "--template", help="text around question and answer; default: chat where the model has one"
    )
    parser.add_argument("--gpus", type=int, help="GPUs of this machine; default: those it has")
    parser.add_argument("--threads", type=int, help="CPU threads of a job; default: all")


def run(options) -> None:
    import os

    from wagle.errors import WagleError
    from wagle.experiment import new_file

    out = Path(options.out or f"{options.name}.yaml")
    if out.exists():
        raise WagleError(f"{out} exists", "a new file", "name another one with --out")
    if not Path(options.data).is_dir():
        raise WagleError(f"no folder {options.data}", "the folder with the data files")
    block = new_file.model_block(options.model)
    size = new_file.model_size(block)
    threads = options.threads or os.cpu_count() or 1
    raw = options.task in ("whp", "wmdp")
    request = new_file.Request(
        name=options.name,
        task=options.task,
        model=block,
        data_dir=str(Path(options.data).resolve()),
        parameters=size.parameters,
        origin=size.origin,
        template=options.template
        or ("{question} {answer}" if raw else new_file.template_of(block)),
        files={"forget": "forget", "retain": "retain", "general": None, "holdout": None},
        gpus=visible_gpus() if options.gpus is None else options.gpus,
        threads=threads,
        run=f"snakemake --cores {threads} --configfile {out}",
    )
    text = new_file.experiment_text(request)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    print(f"{out}: written and valid. Next: wagle validate {out}, then {request.run}")


def visible_gpus() -> int:
    import torch

    return torch.cuda.device_count()
