"""`wagle unlearn`: from two files and a model to a model that forgot, in one command.

It writes an experiment of task `custom` and runs the project's workflow on it. So a second start
continues, and a changed argument runs again what it touches. Then it puts the model and a page with
the numbers before and after into the folder.

Notable: the folder's lock is held by this process and by Snakemake, so that it is free as soon as
both have ended, however they ended. Left out: several methods or seeds, which a file of
`wagle new` has.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

from wagle.cli.workflow import locked, snakemake, write_changed

HELP = "make a model forget your own rows: one command, no config"
EXPERIMENT = "own"
ENOUGH = 20  # rows to forget and to keep from which the search is judged on rows of its own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", required=True, help="a model folder, or a name of the hub (NAME@REVISION)")
    add("--forget", required=True, help=".jsonl of question and answer, or of text; or a .txt")
    add("--retain", required=True, help="the same: what must stay")
    add("--out", required=True, help="folder for the model, the page and all results")
    add("--holdout", help="rows that the model never saw: adds membership attacks")
    add("--general", help="texts whose perplexity is measured; default: built-in English")
    add("--retrained", help="a model that never saw the rows to forget: adds forget quality")
    add("--method", default="npo", choices=("npo", "graddiff", "po"))
    add("--selection", default="wagle", help="which weights may change: wagle, dense, random, ...")
    add("--ratio", type=float, default=0.95, help="share of weights that may change (0.95)")
    add("--lr", type=float, help="this peak learning rate, without a search")
    add("--lrs", type=float, nargs="+", help="peak learning rates that are tried")
    add("--keep-utility", type=float, default=0.95, help="share of UT Avg that must stay (0.95)")
    add("--epochs", type=int, default=5, help="passes over the rows to forget (5)")
    add("--rows", type=int, default=100, help="most rows of each file that are measured (100)")
    add("--template", help="text around question and answer; default: chat where there is one")
    add("--max-length", type=int, default=512, help="longest row in tokens (512)")
    add("--max-new-tokens", type=int, default=64, help="longest answer in tokens (64)")
    add("--seed", type=int, default=1)
    add("--licence", default="unknown", help="of the new model, for its card")
    add("--cores", type=int, help="CPU cores; default: all")
    add("--gpus", type=int, help="GPUs; default: those that PyTorch finds")


def run(options) -> int:
    from wagle.errors import WagleError
    from wagle.experiment import new_file
    from wagle.runtime.handover import workflow_folder

    workflow_folder()  # without one this ends before anything is written
    block = new_file.model_block(options.model)
    size = new_file.model_size(block)
    if options.lr and options.lrs:
        raise WagleError("--lr and --lrs", "one of the two: a rate, or rates to search")
    out = Path(options.out)
    with locked(out) as lock:
        files = _copy_data(options, out / "data")
        counts = _check_data(files, out / "data")
        config = _write_experiment(options, out, block, size, files, counts)
        print(_plan(options, config, counts))
        resources = config["resources"]
        code = snakemake(
            out,
            out / "experiment.yaml",
            resources["threads"],
            lock,
            gpus=1 if resources["gpu"] else 0,
        )
        if code:
            print("It stopped. The same command continues where it was.", file=sys.stderr)
            return code
        return _finish(options, out, config, counts)


def _copy_data(options, folder: Path) -> dict[str, str]:
    """Copy the user's files into `folder`, where they changed; their names by role."""
    from wagle.errors import WagleError
    from wagle.runtime.files import sha256_file

    folder.mkdir(exist_ok=True)
    names = {}
    for role in ("forget", "retain", "general", "holdout"):
        name = getattr(options, role)
        suffix = next(
            (end for end in (".jsonl.gz", ".jsonl", ".txt") if f"{name}".endswith(end)), ""
        )
        copy = folder / f"{role}{suffix}"
        for stale in folder.glob(f"{role}.*"):
            if name is None or stale != copy:
                stale.unlink()
        if name is None:
            continue
        if not Path(name).is_file():
            raise WagleError(f"no file {name}", f"the file of --{role}")
        if not suffix:
            raise WagleError(f"{name} has another ending", ".jsonl, .jsonl.gz or .txt")
        if not copy.is_file() or sha256_file(copy) != sha256_file(Path(name)):
            shutil.copyfile(name, copy)
        names[role] = role
    return names


def _check_data(files: dict[str, str], folder: Path) -> dict[str, int]:
    """Number of rows by role.

    Raises WagleError for rows that do not fit, before any model loads.
    """
    from wagle.data.rows import check_together
    from wagle.data.sources import load_split

    data = {"source": "files"}
    splits = {role: load_split(role, {"name": role}, data, str(folder)) for role in files}
    check_together(splits)
    return {role: len(rows) for role, rows in splits.items()}


def _write_experiment(options, out: Path, block: dict, size, files: dict, counts: dict) -> dict:
    """Write OUT/experiment.yaml, where it changed, and return it as a config."""
    import yaml

    from wagle.cli.new import visible_gpus
    from wagle.experiment import new_file
    from wagle.experiment.cells import Cell

    lrs = () if options.lr else options.lrs or new_file.default_lrs(size.parameters)
    measured = [min(count, options.rows) for role, count in counts.items()]
    apart = bool(lrs) and min(measured[:2]) >= ENOUGH and min(measured) >= 4
    cores = options.cores or os.cpu_count() or 1
    gamma = 1.0e-6 if options.selection == "wagle" else None
    cell = Cell(options.method, options.selection, gamma=gamma)
    request = new_file.Request(
        name=EXPERIMENT,
        task="custom",
        model=block,
        retrained=new_file.model_block(options.retrained) if options.retrained else None,
        data_dir="data",
        parameters=size.parameters,
        origin=size.origin,
        template=options.template or new_file.template_of(block),
        files={role: files.get(role) for role in ("forget", "retain", "general", "holdout")},
        methods=(options.method,),
        selections=(options.selection,),
        ratio=options.ratio,
        lr=options.lr,
        lrs=lrs,
        epochs=options.epochs,
        share=0.5 if apart else None,
        least_kept=options.keep_utility,
        rows=options.rows,
        max_length=options.max_length,
        max_new_tokens=options.max_new_tokens,
        seeds=(options.seed,),
        keep=(f"{cell.group}/{'tuned' if lrs else 'ratio-*'}/seed-*",),
        gpus=visible_gpus() if options.gpus is None else options.gpus,
        threads=cores,
        command="wagle unlearn",
        run=f"snakemake --cores {cores} --configfile experiment.yaml --snakefile .../Snakefile",
        ownership="It is written anew at each start; copy it before you edit it.",
    )
    text = new_file.experiment_text(request)
    write_changed(out / "experiment.yaml", text)
    return yaml.safe_load(text)


def _plan(options, config: dict, counts: dict) -> str:
    """What will be done, in a few lines."""
    rows = ", ".join(f"{count} {role} rows" for role, count in counts.items())
    tuning = config.get("tuning")
    if tuning is None:
        search = f"learning rate {options.lr:g}, no search"
    else:
        rates = ", ".join(f"{rate:g}" for rate in tuning["lrs"])
        apart = ", judged on rows of their own" if "rows" in tuning else ""
        search = (
            f"learning rates {rates} are tried{apart}; taken is the one that forgets most among"
            f" those that keep {options.keep_utility:.0%} of utility"
        )
    return (
        f"{options.model}: {config['resources']['parameters']:,.0f} weights; {rows}\n"
        f"{options.method} on the weights of {options.selection}; {search}\n"
        f"Everything goes to {options.out}. Interrupted, the same command continues."
    )


def _finish(options, out: Path, config: dict, counts: dict) -> int:
    """Put the model and the page into `out`, and say how it went."""
    from wagle.reporting import before_after, before_after_page
    from wagle.runtime.files import sha256_file

    results = out / "results" / EXPERIMENT
    outcome = before_after.read_outcome(results, config)
    _export(results, outcome.cell.id, out / "model", options.licence, str(options.model))
    digests = {role: sha256_file(results / "data" / role / "rows.jsonl") for role in counts}
    about = {
        f"{role.capitalize()} rows": f"{counts[role]}, sha256 {digest[:16]}..."
        for role, digest in digests.items()
    }
    page = before_after_page.page(outcome, about, f"results/{EXPERIMENT}")
    (out / "page.html").write_text(page, encoding="utf-8")
    (out / "summary.json").write_text(before_after.as_json(outcome), encoding="utf-8")
    for sentence in before_after.verdicts(outcome):
        print(f"- {sentence}")
    print(f"Model: {out / 'model'}\nPage:  {out / 'page.html'}")
    return 0


def _export(results: Path, cell: str, target: Path, licence: str, base_name: str) -> None:
    """Export the cell to `target`, in place of what an earlier run exported there."""
    from wagle.audit.model_card import export_model
    from wagle.errors import WagleError

    fresh = target.with_name(f"{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    export_model(results, cell, fresh, licence, base_name=base_name)
    if target.exists():
        card = target / "README.md"
        if not card.is_file() or "tags: [unlearning, wagle]" not in card.read_text("utf-8"):
            raise WagleError(
                f"{target} is no model of this command", "a folder to replace, or none"
            )
        shutil.rmtree(target)
    fresh.rename(target)
