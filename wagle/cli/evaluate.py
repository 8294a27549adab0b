"""`wagle evaluate`: any checkpoint measured in one command.

It writes an experiment that only evaluates and runs the project's workflow on it. So a second start
continues where the first one was stopped, and `wagle audit` checks the results. Then it puts into
the folder:

    metrics.json         each metric with its standard error
    rows.jsonl           one line an answer: prompt, truth, answer
    summary.md           both for people
    open_unlearning.json open-unlearning's layout, with --open-unlearning

Notable: with --reference, the retrained model is measured too, for forget quality and privleak.
"""

import argparse
import os
from pathlib import Path

from wagle.cli.workflow import locked, snakemake, write_changed
from wagle.errors import WagleError
from wagle.experiment.templates import PROTOCOLS

HELP = "measure any checkpoint: metrics with standard errors, and every answer"
EXAMPLES = 2  # answers of each split in the summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", help="a model folder, or a name of the hub (NAME@REVISION)")
    add("--data", required=True, help="folder with a file for each role, or TOFU's files")
    add("--protocol", required=True, choices=PROTOCOLS, help="docs/metrics.md")
    add("--reference", help="the retrained model, for forget quality and privleak")
    add("--out", help="folder of the results; default: evaluation-<name of the model>")
    add("--open-unlearning", action="store_true", help="write open-unlearning's JSON too")
    add("--forget", default="forget10", help="which of TOFU's forget sets (forget10)")
    add("--template", help="text around question and answer; default: chat where there is one")
    add("--embedder", help="folder of the sentence-embedding model; default: a wheel from PyPI")
    add("--max-length", type=int, default=512, help="longest row in tokens (512)")
    add("--max-new-tokens", type=int, default=200, help="longest answer in tokens (200)")
    add("--token-budget", type=int, default=8192, help="most tokens in one pass (8192)")
    add("--precision", default="fp32", choices=("fp32", "bf16"), help="of the weights (fp32)")
    add("--gpus", type=int, default=0, help="GPUs; two measure model and reference at once (0)")
    add("--cores", type=int, default=os.cpu_count() or 1, help="CPU cores (all)")


def run(options) -> int:
    from wagle.experiment import config, evaluation_only, new_file, preflight

    model = evaluation_only.model_block(options.model)
    name = Path(model["path"]).name if "path" in model else model["name"].replace("/", "--")
    out = Path(options.out or f"evaluation-{name}")
    reference = evaluation_only.model_block(options.reference) if options.reference else None
    threads = max(1, options.cores // (2 if reference and not options.gpus else 1))
    settings = evaluation_only.experiment(
        _default_config(),
        model=model,
        reference=reference,
        data_dir=options.data,
        forget=options.forget,
        protocol=options.protocol,
        template=options.template or new_file.template_of(model),
        embedder=options.embedder,
        max_length=options.max_length,
        max_new_tokens=options.max_new_tokens,
        token_budget=options.token_budget,
        precision=options.precision,
        gpus=options.gpus,
        threads=threads,
    )
    config.validate(settings, "wagle evaluate")
    preflight.check_inputs(settings, "wagle evaluate")
    with locked(out) as lock:
        path = _write_config(out, settings)
        print(f"{options.model}: scored in the template {settings['template']!r}; results: {out}")
        targets = [f"results/{evaluation_only.NAME}/{file}" for file in _files(options)]
        code = snakemake(out, path, options.cores, lock, gpus=options.gpus, targets=targets)
        if code:
            print("It stopped. The same command continues where it was.")
            return code
        _write_results(out, options, settings)
    return 0


def _files(options) -> list[str]:
    """What the workflow must make, below the results folder."""
    logs = ("tokens.parquet", "generations.jsonl", "manifest.json")
    models = ["original", *(["retrained"] if options.reference else [])]
    evaluated = [f"evaluations/{model}/{name}" for model in models for name in logs]
    return [*evaluated, "metrics/original/metrics.json", "metrics/original/manifest.json"]


def _default_config() -> dict:
    import yaml

    from wagle.runtime.handover import workflow_folder

    return yaml.safe_load((workflow_folder() / "config" / "config.yaml").read_text("utf-8"))


def _write_config(out: Path, settings: dict) -> Path:
    """OUT/experiment.yaml, written where it changed.

    Raises WagleError where the folder holds something else.
    """
    import yaml

    path, text = out / "experiment.yaml", yaml.safe_dump(settings, sort_keys=False)
    others = [entry.name for entry in out.iterdir() if entry.name != ".lock"]
    if others and not path.is_file():
        raise WagleError(f"{out} holds {', '.join(sorted(others)[:3])}", "a new folder for --out")
    write_changed(path, text)
    return path


def _write_results(out: Path, options, settings: dict) -> None:
    from wagle.cli.inputs import read_evaluation
    from wagle.data.rows import write_rows
    from wagle.evaluation import interchange
    from wagle.experiment import evaluation_only
    from wagle.reporting import one_model
    from wagle.runtime.files import LARGE_LIMIT, read_json, write_json

    results = out / "results" / evaluation_only.NAME
    folder = results / "evaluations"
    reference = str(folder / "retrained") if options.reference else None
    evaluation = read_evaluation(folder / "original", reference)
    everything = read_json(
        results / "metrics" / "original" / "metrics.json", limit=LARGE_LIMIT, strict=False
    )
    metrics = everything[options.protocol]
    checks = read_json(results / "data" / "check" / "check.json")
    rows = one_model.answer_rows(
        evaluation.columns, evaluation.generations, _prompt(results, settings["template"])
    )
    about = {
        "model": options.model,
        "protocol": options.protocol,
        "reference": options.reference or "none: no forget quality, no privleak",
        "template": settings["template"],
        "rows": ", ".join(f"{role} {entry['rows']}" for role, entry in checks.items()),
    }
    write_json(out / "metrics.json", about | {"data": checks, "metrics": metrics})
    write_rows(out / "rows.jsonl", rows)
    page = one_model.summary(about, metrics, one_model.first_of_each_split(rows, EXAMPLES))
    (out / "summary.md").write_text(page, encoding="utf-8")
    if options.open_unlearning:
        log = interchange.to_open_unlearning(*evaluation[:3])
        write_json(out / "open_unlearning.json", log)
    print("\n".join(page.split("\n## Answers")[0].splitlines()[2:]))
    print(f"\nEvery answer: {out / 'rows.jsonl'}. Summary: {out / 'summary.md'}.")


def _prompt(results: Path, template: str):
    """From a question to the text that the model read. Only a chat needs the tokenizer."""
    from wagle.data import chat, prompts

    if not chat.is_chat(template):
        return lambda question: prompts.render(template, question).rstrip(" ")
    from wagle.model import checkpoints

    tokenizer = checkpoints.load_tokenizer(results / "models" / "target" / "checkpoint")
    return lambda question: tokenizer.decode(chat.prompt_ids(tokenizer, template, question))
