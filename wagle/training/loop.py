"""The one training loop: fine-tuning and unlearning, dense, masked or through adapters.

A step has a set of forget rows and a set of retain rows. Its loss is the mean of the objective's
per-row terms over each set, added up, however the rows are divided into micro-batches. Forget and
retain rows share forward passes.

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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from wagle.data.prompts import Encoded
from wagle.errors import WagleError
from wagle.model.checkpointing import checkpointed
from wagle.model.losses import RowLoss, answer_loss
from wagle.runtime.memory import keep_freed
from wagle.training.objective import Objective
from wagle.training.optimizers import Decay, make_optimizer, norms_and_biases
from wagle.training.options import TrainingOptions
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


@dataclass(frozen=True)
class TrainingData:
    """Tokenized rows. Fine-tuning takes its rows as `forget` and has no `retain` rows.

    pad_id: the token that fills shorter rows of a batch.
    """

    forget: list[Encoded]
    retain: list[Encoded]
    pad_id: int


@dataclass(frozen=True)
class TrainingSummary:
    """What a run did: optimizer steps in all, tokens of the steps made now, seconds they took."""

    steps: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class StepLosses:
    """The two parts of a step's loss in nats, and the number of tokens of its rows."""

    forget: float
    retain: float
    tokens: int


@dataclass(frozen=True)
class MicroBatch:
    """The rows of one forward pass, forget rows first.

    forget_indices: positions of the forget rows in `TrainingData.forget`.
    is_filler: the pass only keeps step with the other processes, and counts nothing.
    """

    rows: list[Encoded]
    forget_indices: list[int]
    is_filler: bool


def fit(
    model,
    data: TrainingData,
    objective: Objective,
    options: TrainingOptions,
    *,
    masks: dict[str, torch.Tensor] | None = None,
    reference: RowLoss | None = None,
    log: Path | None = None,
    resume: ResumeFolder | None = None,
) -> TrainingSummary:
    """Train `model` in place.

    masks: by parameter name, boolean tensors of the parameters' shapes; only weights under a True
        are trained. None trains all of them.
    reference: losses of all forget rows before training, shapes (len(data.forget),), for an
        objective that needs them.
    log: gets one JSON line a step: both losses in nats, learning rate, norm of the gradient before
        clipping, number of tokens.
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
    optimizer = make_optimizer(
        options.precision,
        shards.parameters,
        shards.local_masks(masks),
        decay,
        offload_moments=options.offload_moments,
    )
    resume = resume if shards.world_size == 1 else None
    progress = load_state(resume, optimizer)
    clock = Clock(resume.interval if resume else None, state_bytes(shards.parameters))
    gradients = StepGradients(model, shards, data, objective, options, reference)
    steps = make_steps(
        len(data.forget),
        len(data.retain),
        batch_size=options.batch_size,
        seed=options.seed,
        epochs=options.epochs,
        steps=options.steps,
        retain_with_replacement=options.retain_with_replacement,
    )
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
        losses = gradients.accumulate(steps[number])
        _check_losses(number, steps[number], losses)
        norm_tensor = shards.gradient_norm()
        norm = float(norm_tensor)
        _check_gradients(number, norm, shards.parameters)
        torch.nn.utils.clip_grads_with_norm_(shards.parameters.values(), options.clip, norm_tensor)
        lr = learning_rate(number, len(steps), options.lr, options.warmup)
        optimizer.step(lr)
        tokens += losses.tokens
        log_lines.append(_log_line(number, losses, lr, norm))
        if resume is not None and clock.due():
            with clock.saving():
                save_state(resume, Progress(number + 1, log_lines), optimizer)
    model.eval()
    if log is not None and shards.rank == 0:
        log.write_text("".join(log_lines), encoding="utf-8")
    return TrainingSummary(len(steps), tokens, time.monotonic() - started)


@dataclass(frozen=True)
class StepGradients:
    """Computes the gradient of one step at a time: forward and backward passes over its rows."""

    model: torch.nn.Module
    shards: Shards
    data: TrainingData
    objective: Objective
    options: TrainingOptions
    reference: RowLoss | None

    def accumulate(self, step: Step) -> StepLosses:
        """Add the gradient of `step` to the parameters' `grad`, and return the step's losses."""
        losses = []  # of each micro-batch; read once a step, for each reading waits for the GPU
        with checkpointed(self.model, self.options.activation_checkpointing):
            for batch in self.micro_batches(step):
                forget_terms, retain_terms = self.row_terms(batch)
                forget_part = forget_terms.sum() / len(step.forget)
                retain_part = retain_terms.sum() / max(1, len(step.retain))
                # fully_shard averages gradients over the processes, and a step needs their sum
                scale = 0 if batch.is_filler else self.shards.world_size
                ((forget_part + retain_part) * scale).backward()
                if not batch.is_filler:
                    losses.append(torch.stack([forget_part.detach(), retain_part.detach()]))
        self.shards.collect_gradients()
        local_losses = sum(_to_host(losses), torch.zeros(2, dtype=torch.float64))
        forget_loss, retain_loss = self.shards.sum_over_processes(local_losses).tolist()
        return StepLosses(forget_loss, retain_loss, self._count_tokens(step))

    def micro_batches(self, step: Step) -> Iterator[MicroBatch]:
        """The forward passes that this process makes for `step`.

        Each process of a sharded model makes equally many. One that has no row left passes the
        step's first row as a filler.
        """
        rows = self._rows(step)
        lengths = [len(row) for row in rows]
        for indices in self.shards.local_batches(lengths, self.options.token_budget):
            order = sorted(indices or [0])  # forget rows come first in `rows`
            forget_indices = [step.forget[i] for i in order if i < len(step.forget)]
            yield MicroBatch([rows[i] for i in order], forget_indices, is_filler=not indices)

    def row_terms(self, batch: MicroBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """The objective's terms of the batch's forget rows (B_f,) and retain rows (B_r,)."""
        # The cast cache would keep a bf16 copy of every weight until the pass is over, of sharded
        # and of checkpointed weights too.
        with torch.autocast(
            self.model.device.type,
            torch.bfloat16,
            enabled=self.options.autocast == "bf16",
            cache_enabled=False,
        ):
            losses = answer_loss(self.model, batch.rows, self.data.pad_id)
        forget_count = len(batch.forget_indices)
        return self.objective.loss(
            losses.rows(slice(0, forget_count)),
            losses.rows(slice(forget_count, None)),
            self._reference_losses(batch, losses.mean.device),
        )

    def _reference_losses(self, batch: MicroBatch, device: torch.device) -> RowLoss | None:
        if self.reference is None:
            return None
        indices = torch.tensor(batch.forget_indices, dtype=torch.long)
        return RowLoss(*(values.to(device) for values in self.reference.rows(indices)))

    def _rows(self, step: Step) -> list[Encoded]:
        return [
            *(self.data.forget[i] for i in step.forget),
            *(self.data.retain[i] for i in step.retain),
        ]

    def _count_tokens(self, step: Step) -> int:
        return sum(map(len, self._rows(step)))


def _to_host(losses: list[torch.Tensor]) -> torch.Tensor:
    """The tensors (2,) as one (len(losses), 2) in fp64 on the CPU."""
    return torch.stack(losses).double().cpu() if losses else torch.zeros(0, 2, dtype=torch.float64)


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


def _log_line(number: int, losses: StepLosses, lr: float, norm: float) -> str:
    """One line of train.jsonl."""
    entry = {
        "step": number,
        "forget": losses.forget,
        "retain": losses.retain,
        "lr": lr,
        "gradient_norm": norm,
        "tokens": losses.tokens,
    }
    return json.dumps(entry) + "\n"
