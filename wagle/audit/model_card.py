"""Export one unlearned model: a Hugging Face folder with a card that says what it is.

Only a cell whose checkpoint was kept (`keep:` in the config) can be exported, and only if its files
are those that its jobs recorded. The card's numbers come from the cell's own metrics, each with its
standard error over rows.

Notable: the caller names the licence, because a fine-tuned model carries its base model's terms.
Left out: any promise that the forgotten data cannot be recovered. No metric shows that.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from wagle.audit.check import PROBLEMS, audit_folder
from wagle.audit.record_graph import Record, ancestors, load_records
from wagle.errors import WagleError
from wagle.experiment.cells import Cell
from wagle.model.portable import make_portable
from wagle.runtime.files import LARGE_LIMIT, read_json

CARD = """---
license: {licence}
library_name: transformers
tags: [unlearning, wagle]
---

# {cell}

A language model from which a forget set was unlearned, with the weights to update chosen by the \
selection below
(reproduction of WAGLE, arXiv 2410.17509).

| | |
|---|---|
{about}

## How it was made

Base model: `{base_model}`

Data, by the sha256 of their rows:

{data}

Unlearning:

{params}

## Loading

transformers {least} or newer loads this folder as this model. config.json and
tokenizer_config.json have the keys of release 5 and those of earlier ones.

## Numbers
{metrics}

## Limits

- Unlearning lowers what the model shows of the forget set under these metrics. It does not prove \
that the data are
  gone: relearning, quantisation, other prompts or white-box attacks may bring them back.
- The numbers hold for the data, prompts and decoding of this experiment. Standard errors are over \
rows of one run; the
  experiment's tables have the spread over seeds.
- Weights outside the mask have the bits of the model that unlearning started from; nothing else \
of that model was reviewed.

## Licence

`{licence}`, as named by whoever exported it. The terms of the base model and of the training data \
apply.

## Records

sha256 of the record of every job behind this model:

| job | record |
|---|---|
{records}

sha256 of the files as the pipeline wrote them. config.json and tokenizer_config.json have the
older keys besides here. The weights of some families, such as Mixtral, have other names here:

{files}
"""
METRIC_TABLE = """
### Protocol `{protocol}`

| metric | value | standard error | n |
|---|---:|---:|---:|
{rows}"""


def render_card(
    cell: Cell,
    records: dict[str, Record],
    metrics: dict,
    licence: str,
    experiment: str,
    least: str,
    point: Mapping | None = None,
    base_name: str | None = None,
) -> str:
    """The README.md of an exported cell.

    `metrics` are the cell's own, by protocol and name. `records` must hold the cell's unlearning
    job. `least` is the oldest release of transformers that loads the folder as this model. `point`
    is the picked point of a tuned cell (docs/tuning.md). `base_name` is what people call the base
    model; records know a folder by its content alone.
    """
    path = f"unlearned/{cell.id}/manifest.json"
    unlearned, behind = records[path], [records[source] for source in ancestors(records, path)]
    params = sorted(unlearned.manifest["params"].items())
    checkpoint = {
        name.removeprefix("checkpoint/"): entry["sha256"]
        for name, entry in unlearned.manifest["outputs"].items()
        if name.startswith("checkpoint/")
    }
    about = (_about(cell, unlearned, experiment) | _picked(point or {})).items()
    return CARD.format(
        licence=licence,
        cell=cell.id,
        about=_lines("| {} | {} |", [(key, value) for key, value in about if value is not None]),
        base_model="`, `".join(filter(None, (base_name, _base_model(behind)))),
        least=least,
        data=_lines("- {}: `{}`", _data(behind)),
        params=_lines("- {}: `{}`", params),
        metrics="\n".join(_metric_table(protocol, metrics[protocol]) for protocol in metrics),
        records=_lines("| {} | `{}` |", [(record.folder, record.digest) for record in behind]),
        files=_lines("- `{}` {}", checkpoint.items()),
    )


def _lines(template: str, pairs) -> str:
    return "\n".join(template.format(*pair) for pair in pairs)


def _about(cell: Cell, unlearned: Record, experiment: str) -> dict:
    run = unlearned.run or {}
    return {
        "method": cell.method,
        "selection": cell.selection,
        "share of weights updated": cell.ratio,
        "gamma": cell.gamma,
        "seed": cell.seed,
        "experiment": experiment,
        "made": f"{run.get('started')} on {run.get('accelerator') or run.get('processor')}",
    }


def _picked(point: Mapping) -> dict:
    """Ratio and learning rate of a tuned cell, which its own name does not have."""
    names = {"ratio": "share of weights updated", "lr": "peak learning rate"}
    return {name: point[key] for key, name in names.items() if point.get(key) is not None}


def _base_model(behind: list[Record]) -> str:
    """The base model's config, as the job that fetched it recorded it.

    An experiment without a base unlearns its target as it is.
    """
    by_folder = {record.folder: record.manifest["params"] for record in behind}
    for folder, param in (("models/base", "config"), ("models/target", "source")):
        if folder in by_folder:
            return by_folder[folder].get(param, "see the records")
    return "see the records"


def _data(behind: list[Record]) -> list[tuple[str, str]]:
    """(role, sha256 of its rows) of every data set behind the model."""
    return [
        (record.folder.removeprefix("data/"), output["sha256"])
        for record in behind
        for name, output in record.manifest["outputs"].items()
        if record.folder.startswith("data/") and name == "rows.jsonl"
    ]


def _metric_table(protocol: str, metrics: dict) -> str:
    rows = []
    for name, entry in metrics.items():
        se = entry.get("se")
        has_se = isinstance(se, int | float) and se == se
        shown = f"{se:.4f}" if has_se else ""
        rows.append(f"| {name} | {entry['value']:.4g} | {shown} | {entry['n']} |")
    return METRIC_TABLE.format(protocol=protocol, rows="\n".join(rows))


def export_model(
    results: str | Path,
    name: str,
    target: str | Path,
    licence: str,
    *,
    base_name: str | None = None,
) -> Path:
    """Copy cell `name` (its id) of the folder `results` to the new folder `target`, with its card.

    base_name: what the card calls the base model, beside what the records say of it.

    Returns `target`. Raises WagleError when the checkpoint was not kept, when a file behind the
    cell is not what was recorded, or when `target` exists.
    """
    root, target = Path(results), Path(target)
    cell = _parsed_cell(name)
    records = load_records(root).records
    _check_cell(root, cell, records)
    checkpoint = root / "unlearned" / cell.id / "checkpoint"
    if not checkpoint.is_dir():
        raise WagleError(
            f"the checkpoint of {cell.id} was removed after its evaluation",
            "a kept one",
            f"add {cell.id!r} to `keep` in the config and run snakemake again",
        )
    if target.exists():
        raise WagleError(f"{target} exists", "a new folder")
    path = root / "metrics" / cell.id / "metrics.json"
    metrics = read_json(path, limit=LARGE_LIMIT, strict=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="export-", dir=target.parent) as scratch:
        copy = Path(scratch) / "model"
        shutil.copytree(checkpoint, copy, ignore=shutil.ignore_patterns(".snakemake_timestamp"))
        least = make_portable(copy)
        point = read_json(root / f"tuning/picks/{cell.group}/point.json") if cell.tuned else None
        experiment = root.resolve().name
        card = render_card(cell, records, metrics, licence, experiment, least, point, base_name)
        (copy / "README.md").write_text(card, encoding="utf-8")
        copy.rename(target)
    return target


def _parsed_cell(name: str) -> Cell:
    try:
        return Cell.parse(name)
    except ValueError:
        raise WagleError(
            f"{name!r} is no cell", "an id such as npo/wagle@gamma-1e-06/ratio-0.8/seed-1"
        ) from None


def _check_cell(root: Path, cell: Cell, records: dict[str, Record]) -> None:
    """Raise WagleError unless the cell's model and metrics are there and as recorded."""
    paths = [f"{stage}/{cell.id}/manifest.json" for stage in ("unlearned", "metrics")]
    missing = [path for path in paths if path not in records]
    if missing:
        cells = sorted(_cells(records))
        raise WagleError(f"no {missing[0]} in {root}", f"one of {', '.join(cells[:8])}")
    audit = audit_folder(root, only=set(paths), code=False)
    for finding in audit.findings:
        if finding.kind in PROBLEMS:
            raise WagleError(
                f"{finding.path}: {finding.why}",
                "the files that were recorded",
                f"run wagle audit {root}",
            )


def _cells(records: dict[str, Record]) -> set[str]:
    """Ids of the cells that the folder has an unlearned model of."""
    folders = {os.path.dirname(path) for path in records if path.startswith("unlearned/")}
    return {folder.removeprefix("unlearned/") for folder in folders}
