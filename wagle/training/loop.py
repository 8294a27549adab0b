"""The one training loop: fine-tuning and unlearning, dense, masked or through adapters.

A step has a set of forget rows and a set of retain rows. wagle/training/step_gradients.py computes
its gradient; here it is clipped, and the weights are updated.

Masks: gradients are clipped on all weights (as the official code does), then set to zero on frozen
ones. AdamW's own weight decay is off, and decay is applied to selected weights alone. With zero
gradients both moments stay zero, so a frozen weight never changes a bit, and no copy of the model
is needed to restore it. (Under `decay_frozen` it does change: it decays as the others do.)

Notable: this is a loop of our own rather than transformers.Trainer, for the mask, the shared
micro-batches and the resume state without pickle (docs/training.md). Several processes may share a
sharded model (wagle/training/shards.py); then all of them call fit().
"""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from wagle.errors import WagleError
from wagle.runtime.memory import keep_freed
from wagle.training.data import TrainingData
from wagle.training.objective import Objective
from wagle.training.optimizers import Decay, make_optimizer, norms_and_biases
from wagle.training.options import TrainingOptions
from wagle.training.reference import Reference
from wagle.training.resume import (
    Clock,
    Progress,
    ResumeFolder,
    load_state,
    save_state,
    state_bytes,
)
from wagle.training.schedule import Step, learning_rate, make_steps
from wagle.training.shards import Shards
from wagle.training.step_gradients import StepGradients, StepLosses


@dataclass(frozen=True)
class TrainingSummary:
    """What a run did: optimizer steps in all, tokens of the steps made now, seconds they took."""

    steps: int
    tokens: int
    seconds: float


def fit(
    model,
    data: TrainingData,
    objective: Objective,
    options: TrainingOptions,
    *,
    masks: dict[str, torch.Tensor] | None = None,
    reference: Reference | None = None,
    log: Path | None = None,
    resume: ResumeFolder | None = None,
) -> TrainingSummary:
    """Train `model` in place.

    masks: by parameter name, boolean tensors of the parameters' shapes; only weights under a True
        are trained. None trains all of them.
    reference: the model before training, as far as the objective needs it.
    log: gets one JSON line a step: both losses, learning rate, norm of the gradient before
        clipping, number of tokens, and the objective's state if it has one.
    resume: where a killed run left its state and this one leaves its own.

    Raises WagleError when a loss or a gradient is not finite, naming the step, its rows and the
    parameter.
    """
    if model.device.type == "cpu":
        keep_freed()
    shards = Shards(model)
    decay = Decay(
        options.weight_decay,
        acts_on_frozen=options.decay_frozen,
        exempt=norms_and_biases(model) if options.decay_exempt else frozenset(),
    )
    local_masks = shards.local_masks(masks)
    optimizer = make_optimizer(
        options.precision,
        shards.parameters,
        local_masks,
        decay,
        offload_moments=options.offload_moments,
    )
    resume = resume if shards.world_size == 1 else None
    progress = load_state(resume, optimizer)
    clock = Clock(resume.interval if resume else None, state_bytes(shards.parameters))
    gradients = StepGradients(
        model, shards, data, objective, options, reference or Reference(), local_masks
    )
    steps = make_steps(
        len(data.forget),
        len(data.retain),
        batch_size=options.batch_size,
        seed=options.seed,
        epochs=options.epochs,
        steps=options.steps,
        retain_with_replacement=options.retain_with_replacement,
    )
    steps_per_epoch = math.ceil(len(data.forget) / options.batch_size)
    state = progress.state if progress.steps else objective.first_state()
    started, tokens, log_lines = time.monotonic(), 0, progress.log_lines
    model.train()
    for number in tqdm(
        range(progress.steps, len(steps)),
        initial=progress.steps,
        total=len(steps),
        mininterval=5,
        desc="train",
        disable=shards.rank != 0,
    ):
        # Seeds dropout and stochastic rounding. A resumed run repeats the numbers of an undisturbed
        # one, and each process has numbers of its own.
        torch.manual_seed((options.seed * 1_000_003 + number) ^ (shards.rank << 48))
        losses = gradients.accumulate(steps[number], state)
        _check_losses(number, steps[number], losses)
        norm_tensor = shards.gradient_norm()
        norm = float(norm_tensor)
        _check_gradients(number, norm, shards.parameters)
        torch.nn.utils.clip_grads_with_norm_(shards.parameters.values(), options.clip, norm_tensor)
        lr = learning_rate(number, len(steps), options.lr, options.warmup)
        optimizer.step(lr)
        tokens += losses.tokens
        log_lines.append(_log_line(number, losses, lr, norm, state))
        if objective.next_state is not None:
            epochs = (number + 1) / steps_per_epoch
            state = objective.next_state(state, losses.retain_cross_entropy, epochs)
        if resume is not None and clock.due():
            with clock.saving():
                save_state(resume, Progress(number + 1, log_lines, state), optimizer)
    model.eval()
    if log is not None and shards.rank == 0:
        log.write_text("".join(log_lines), encoding="utf-8")
    return TrainingSummary(len(steps), tokens, time.monotonic() - started)


def _check_losses(number: int, step: Step, losses: StepLosses) -> None:
    if not math.isfinite(losses.forget + losses.retain):
        raise WagleError(
            f"step {number}: forget loss {losses.forget}, retain loss {losses.retain} "
            f"(forget rows {step.forget}, retain rows {step.retain})",
            "finite losses",
            "lower the learning rate or use precision fp32",
        )


def _check_gradients(number: int, norm: float, parameters: dict[str, torch.Tensor]) -> None:
    if math.isfinite(norm):
        return
    names = [
        name
        for name, parameter in parameters.items()
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all()
    ]
    raise WagleError(
        f"step {number}: gradient of {', '.join(names[:3]) or 'the model'} has NaN or Inf",
        "finite gradients",
    )


def _log_line(number: int, losses: StepLosses, lr: float, norm: float, state: dict) -> str:
    """One line of train.jsonl; `state` is the one that the step was made with."""
    entry = {
        "step": number,
        "forget": losses.forget,
        "retain": losses.retain,
        "lr": lr,
        "gradient_norm": norm,
        "tokens": losses.tokens,
        **state,
    }
    return json.dumps(entry) + "\n"
