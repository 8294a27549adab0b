"""The two training jobs, from files to files: what a script calls, and what each of several processes calls with the same JSON.

Only the first of several processes writes.
"""

import json
from pathlib import Path

from wagle.attribution import masks
from wagle.data.rows import read_rows
from wagle.model import checkpoints
from wagle.runtime.files import write_json
from wagle.training import optimizers, shards, unlearning
from wagle.training.finetuning import finetune


def finetuned(
    *,
    base: str,
    rows: list[str],
    out: str,
    resume: str,
    identity: str,
    encoding: dict,
    options: dict,
) -> None:
    """Fine-tune checkpoint `base` on the rows of the files `rows` into folder `out`; `options` are finetune()'s."""
    tokenizer = checkpoints.load_tokenizer(base)
    found = [row for path in rows for row in read_rows(path)]
    model, done = finetune(
        shards.load(base),
        tokenizer,
        found,
        encoding=encoding,
        resume=Path(resume),
        identity=identity,
        **options,
    )
    model = shards.gather(model, base)
    if model is not None:
        print(json.dumps(done))
        checkpoints.save(model, tokenizer, out)


def unlearned(
    *,
    target: str,
    rows: list[str],
    mask: str | None,
    objective: str,
    out: dict,
    resume: str,
    **options,
) -> None:
    """One cell: from checkpoint `target` and the files of forget rows, retain rows and perhaps refusals to the files `out`.

    `out` has checkpoint, log and moved; `options` are unlearn()'s.
    """
    forget, retain, *rest = [read_rows(path) for path in rows]
    model, tokenizer = (
        shards.load(target, optimizers.weights(options["precision"])),
        checkpoints.load_tokenizer(target),
    )
    model, record = unlearning.unlearn(
        model, tokenizer, forget, retain, refusals=[row["text"] for row in rest[0]] if rest else None, module=objective,
        masks=dict(masks.load(mask)) if mask else None, checkpoint=target, log=Path(out["log"]), resume=Path(resume), **options,
    )  # fmt: skip
    if model is not None:
        write_json(Path(out["moved"]), record)
        checkpoints.save(model, tokenizer, out["checkpoint"])
