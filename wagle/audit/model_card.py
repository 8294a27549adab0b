"""One unlearned model out of the experiment: a Hugging Face folder with a card that says what it is and what it is not.

Only a cell whose checkpoint was kept (`keep:` in the config) can be exported, and only if the files are those that its
jobs recorded. The card's numbers come from the cell's own metrics, each with its standard error over rows.

Notable: the licence is the caller's to name; a fine-tuned model carries its base model's terms. Left out: any promise that the
forgotten data cannot be recovered. No metric shows that.
"""

import os
import shutil
import tempfile
from pathlib import Path

from wagle.audit import audit
from wagle.errors import WagleError
from wagle.experiment.cells import Cell
from wagle.runtime.files import LARGE_LIMIT, read_json

INTRODUCTION = """A language model from which a forget set was unlearned, with the weights to update chosen by the selection below
(reproduction of WAGLE, arXiv 2410.17509)."""
LIMITS = """- Unlearning lowers what the model shows of the forget set under these metrics. It does not prove that the data are
  gone: relearning, quantisation, other prompts or white-box attacks may bring them back.
- The numbers hold for the data, prompts and decoding of this experiment. Standard errors are over rows of one run; the
  experiment's tables have the spread over seeds.
- Weights outside the mask have the bits of the model that unlearning started from; nothing else of that model was reviewed."""


def _values(metrics: dict) -> list[str]:
    lines = []
    for protocol, values in metrics.items():
        lines += [
            f"\n### Protocol `{protocol}`\n",
            "| metric | value | standard error | n |",
            "|---|---:|---:|---:|",
        ]
        for name, entry in values.items():
            se = entry.get("se")
            shown = f"{se:.4f}" if isinstance(se, int | float) and se == se else ""
            lines.append(f"| {name} | {entry['value']:.4g} | {shown} | {entry['n']} |")
    return lines


def card(
    cell: Cell, records: dict[str, audit.Record], metrics: dict, licence: str, experiment: str
) -> str:
    """The README.md of an exported cell."""
    unlearned = records[f"unlearned/{cell.id}/manifest.json"]
    chain = [unlearned.folder]
    for folder in chain:  # grows as it is read: every job behind the model
        links = records[f"{folder}/manifest.json"].manifest["inputs"]
        found = [audit.linked(records[f"{folder}/manifest.json"], link) for link in links]
        chain += [
            os.path.dirname(p) for p in found if p in records and os.path.dirname(p) not in chain
        ]
    base = next(
        (
            r.manifest["params"]
            for f, r in ((f, records[f"{f}/manifest.json"]) for f in chain)
            if f == "models/base"
        ),
        {},
    )
    run = unlearned.run or {}
    about = {
        "method": cell.method, "selection": cell.selection, "share of weights updated": cell.ratio, "gamma": cell.gamma,
        "seed": cell.seed,
        "experiment": experiment, "made": f"{run.get('started')} on {run.get('accelerator') or run.get('processor')}",
    }  # fmt: skip
    lines = [
        "---",
        f"license: {licence}",
        "library_name: transformers",
        "tags: [unlearning, wagle]",
        "---",
        "",
    ]
    lines += [f"# {cell.id}", "", INTRODUCTION, "", "| | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in about.items() if value is not None]
    lines += [
        "",
        "## How it was made",
        "",
        f"Base model: `{base.get('config', 'see the records')}`",
        "",
        "Unlearning:",
        "",
    ]
    lines += [f"- {key}: `{value}`" for key, value in sorted(unlearned.manifest["params"].items())]
    lines += [
        "",
        "## Numbers",
        *_values(metrics),
        "",
        "## Limits",
        "",
        LIMITS,
        "",
        "## Licence",
        "",
    ]
    lines += [
        f"`{licence}`, as named by whoever exported it. The terms of the base model and of the training data apply."
    ]
    lines += [
        "",
        "## Records",
        "",
        "sha256 of the record of every job behind this model:",
        "",
        "| job | record |",
        "|---|---|",
    ]
    lines += [f"| {folder} | `{records[f'{folder}/manifest.json'].digest}` |" for folder in chain]
    lines += ["", "sha256 of the files:", ""]
    kept = {name.removeprefix("checkpoint/"): entry["sha256"] for name, entry in unlearned.manifest["outputs"].items()
            if name.startswith("checkpoint/")}  # fmt: skip
    return "\n".join([*lines, *(f"- `{name}` {digest}" for name, digest in kept.items())]) + "\n"


def export(results: str | Path, name: str, target: str | Path, licence: str) -> Path:
    """Copy cell `name` (its id) of the folder `results` to the new folder `target`, with its card; returns `target`.

    Raises WagleError when the checkpoint was not kept, any file behind the cell is not what was recorded, or `target` exists.
    """
    root, target = Path(results), Path(target)
    try:
        cell = Cell.parse(name)
    except ValueError:
        raise WagleError(
            f"{name!r} is no cell", "an id such as npo/wagle@gamma-1e-06/ratio-0.8/seed-1"
        ) from None
    records, _ = audit.load(root, audit.walk(root))
    paths = [f"{stage}/{cell.id}/manifest.json" for stage in ("unlearned", "metrics")]
    missing = [path for path in paths if path not in records]
    if missing:
        known = sorted(
            p.removeprefix("unlearned/").removesuffix("/manifest.json")
            for p in records
            if p.startswith("unlearned/")
        )
        raise WagleError(f"no {missing[0]} in {root}", f"one of {', '.join(known[:8])}")
    found = audit.audit(root, only=set(paths), code=False)
    bad = [f for f in found.findings if f.kind in audit.PROBLEMS]
    if bad:
        raise WagleError(
            f"{bad[0].path}: {bad[0].why}",
            "the files that were recorded",
            f"run wagle audit {root}",
        )
    checkpoint = root / "unlearned" / cell.id / "checkpoint"
    if not checkpoint.is_dir():
        raise WagleError(
            f"the checkpoint of {cell.id} was removed after its evaluation", "a kept one",
            f"add {cell.id!r} to `keep` in the config and run snakemake again",
        )  # fmt: skip
    if target.exists():
        raise WagleError(f"{target} exists", "a new folder")
    metrics = read_json(
        root / "metrics" / cell.id / "metrics.json", limit=LARGE_LIMIT, strict=False
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="export-", dir=target.parent) as scratch:
        copy = Path(scratch) / "model"
        shutil.copytree(checkpoint, copy, ignore=shutil.ignore_patterns(".snakemake_timestamp"))
        text = card(cell, records, metrics, licence, root.resolve().name)
        (copy / "README.md").write_text(text, encoding="utf-8")
        copy.rename(target)
    return target
