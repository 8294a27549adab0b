"""The two training jobs, from files to files.

A script calls these functions, or starts several processes that each call one with the same JSON
arguments (wagle/training/launch.py). Only the first of several processes writes.
"""

import dataclasses
import json
from pathlib import Path

from wagle.attribution import masks
from wagle.data.rows import read_rows
from wagle.model import checkpoints
from wagle.runtime.files import write_json
from wagle.training import shards
from wagle.training.finetuning import finetune
from wagle.training.objective import load_objective
from wagle.training.optimizers import weight_precision
from wagle.training.options import TrainingOptions
from wagle.training.resume import ResumeFolder
from wagle.training.unlearning import UnlearningRows, unlearn


def finetune_files(
    *,
    base: str,
    rows: list[str],
    training: dict,
    encoding: dict,
    adapters: dict | None = None,
    out: str,
    resume: str,
    identity: str,
) -> None:
    """Fine-tune checkpoint `base` and write the model into folder `out`.

    rows: files of rows to train on, in their order.
    training: a config block of TrainingOptions.
    encoding: keyword arguments of encode_rows().
    adapters: keyword arguments of add_adapters(), or None to train the whole model.
    resume, identity: folder of a killed run's state, and whose state counts.

    Raises WagleError as TrainingOptions.from_config(), read_rows() and finetune() do.
    """
    options = TrainingOptions.from_config(training)
    precision = weight_precision(options.precision)
    tokenizer = checkpoints.load_tokenizer(base)
    model, summary = finetune(
        shards.load(base, precision),
        tokenizer,
        [row for path in rows for row in read_rows(path)],
        options,
        encoding=encoding,
        adapters=adapters,
        resume=ResumeFolder(Path(resume), identity),
    )
    model = shards.gather(model, base, precision)
    if model is not None:
        print(json.dumps(dataclasses.asdict(summary)))
        checkpoints.save(model, tokenizer, out)


def unlearn_files(
    *,
    target: str,
    forget: str,
    retain: str,
    refusals: str | None = None,
    mask: str | None = None,
    objective: str,
    objective_options: dict,
    training: dict,
    encoding: dict,
    adapters: dict | None = None,
    least_moved: float,
    evaluation_precision: str = "fp32",
    checkpoint: str,
    log: str,
    moved: str,
    resume: str,
    identity: str,
) -> None:
    """Run one cell: unlearn from checkpoint `target` and write the model and two logs.

    forget, retain, refusals: files of rows.
    mask: a mask file; None trains all weights, or the adapters.
    objective, objective_options: arguments of load_objective().
    training: a config block of TrainingOptions.
    encoding, adapters, least_moved, evaluation_precision: as in unlearn().
    checkpoint, log, moved: what is written: a model folder, a JSON line per step, the record.
    resume, identity: folder of a killed run's state, and whose state counts.

    Raises WagleError as load_objective(), TrainingOptions.from_config() and unlearn() do.
    """
    options = TrainingOptions.from_config(training)
    rows = UnlearningRows(
        forget=read_rows(forget),
        retain=read_rows(retain),
        refusals=[row["text"] for row in read_rows(refusals)] if refusals else None,
    )
    model = shards.load(target, weight_precision(options.precision))
    tokenizer = checkpoints.load_tokenizer(target)
    model, record = unlearn(
        model,
        tokenizer,
        rows,
        load_objective(objective, objective_options),
        options,
        checkpoint=target,
        encoding=encoding,
        least_moved=least_moved,
        evaluation_precision=evaluation_precision,
        masks=dict(masks.load(mask)) if mask else None,
        adapters=adapters,
        log=Path(log),
        resume=ResumeFolder(Path(resume), identity),
    )
    if model is not None:
        write_json(Path(moved), record)
        checkpoints.save(model, tokenizer, checkpoint)
