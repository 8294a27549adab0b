"""Fine-tuning on rows: the target, the retrained model, and a scratch model's general knowledge."""

import dataclasses
from typing import NamedTuple

from wagle.data.encoding import encode_rows
from wagle.model.adapters import add_adapters, merge
from wagle.objectives.finetune import loss
from wagle.training.data import TrainingData
from wagle.training.loop import TrainingSummary, fit
from wagle.training.objective import Objective
from wagle.training.options import TrainingOptions
from wagle.training.resume import ResumeFolder


class Finetuned(NamedTuple):
    """The trained model, and what the run did."""

    model: object
    summary: TrainingSummary


def finetune(
    model,
    tokenizer,
    rows: list[dict],
    options: TrainingOptions,
    *,
    encoding: dict,
    adapters: dict | None = None,
    resume: ResumeFolder | None = None,
) -> Finetuned:
    """Train on the answers of `rows`, or on the whole texts of raw ones.

    encoding: keyword arguments of encode_rows().
    adapters: keyword arguments of add_adapters(). With them LoRA adapters alone are trained, and
        then merged into the model.

    Raises WagleError as encode_rows(), add_adapters() and fit() do.
    """
    encoded = encode_rows(tokenizer, rows, **encoding)
    if adapters:
        model = add_adapters(model, seed=options.seed, **adapters)
        # adapters are stored in fp32 whatever the model's precision is
        options = dataclasses.replace(options, precision="fp32")
    data = TrainingData(forget=encoded, retain=[], pad_id=tokenizer.pad_token_id)
    summary = fit(model, data, Objective(loss), options, resume=resume)
    return Finetuned(merge(model)[0] if adapters else model, summary)
