"""The one training loop: fine-tuning and unlearning, dense, masked or through adapters.

A step is a set of forget rows and a set of retain rows; its loss is the mean of the objective's per-row terms over each
set, added up, however the rows are cut into micro-batches. Forget and retain rows share forward passes.

Masks: gradients are clipped on all weights (as the official code does), then set to zero on frozen ones; AdamW's own
weight decay is off and decay is applied to selected weights alone. With zero gradients both moments stay zero, so a frozen
weight is never written another value: it stays bit-identical, and no copy of the model is needed to restore it.

Notable: a loop of our own rather than transformers.Trainer, for the mask, the shared batches and the resume state without
pickle (docs/training.md). A sharded model (wagle/training/shards.py) is trained by several processes that all call fit().
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from wagle.data.prompts import Encoded
from wagle.errors import WagleError
from wagle.model.checkpointing import checkpointed
from wagle.model.losses import RowLoss, answer_loss
from wagle.runtime.memory import keep_freed
from wagle.training import optimizers as policies
from wagle.training import resume as resume_state
from wagle.training.shards import Shards


@dataclass(frozen=True)
class Step:
    """Indices of the rows of one optimizer step."""

    forget: tuple[int, ...]
    retain: tuple[int, ...]


def plan(
    forget: int,
    retain: int,
    *,
    batch_size: int,
    seed: int,
    epochs: int = 1,
    steps: int | None = None,
) -> list[Step]:
    """Steps over `forget` rows, reshuffled each epoch, each forget row paired with one retain row drawn at random.

    `steps` caps or extends the run (epochs are repeated as needed); otherwise it has `epochs` epochs. A pure function of
    its arguments. Raises WagleError when there is nothing to train on.
    """
    if forget < 1 or batch_size < 1 or epochs < 1 or (steps is not None and steps < 1):
        raise WagleError(
            f"{forget} rows, batch size {batch_size}, {epochs} epochs, {steps} steps",
            "at least 1 of each",
        )
    rng = np.random.default_rng([seed, 1])
    result: list[Step] = []
    while True:
        order = rng.permutation(forget)
        pairs = (
            rng.choice(retain, size=forget, replace=retain < forget) if retain else np.empty(0, int)
        )
        for start in range(0, forget, batch_size):
            cut = slice(start, start + batch_size)
            result.append(Step(tuple(order[cut].tolist()), tuple(pairs[cut].tolist())))
        wanted = steps if steps is not None else epochs * -(-forget // batch_size)
        if len(result) >= wanted:
            return result[:wanted]


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Linear warm-up over `warmup` (a fraction) of the steps, then linear decay to 0, as transformers' linear schedule.

    `step` counts from 0.
    """
    ramp = int(steps * warmup)
    if step < ramp:
        return peak * step / ramp
    return peak * (steps - step) / max(1, steps - ramp)


def fit(
    model,
    forget: list[Encoded],
    retain: list[Encoded],
    steps: list[Step],
    objective: Callable[[RowLoss, RowLoss, RowLoss | None], tuple[torch.Tensor, torch.Tensor]],
    *,
    pad_id: int,
    lr: float,
    weight_decay: float,
    warmup: float,
    clip: float,
    token_budget: int,
    seed: int,
    autocast: str = "none",
    precision: str = "fp32",
    activation_checkpointing: bool = False,
    masks: dict[str, torch.Tensor] | None = None,
    reference: RowLoss | None = None,
    log: Path | None = None,
    resume: Path | None = None,
    resume_seconds: float | None = None,
    identity: str = "",
) -> dict:
    """Train `model` in place over `steps`; returns {steps, tokens, seconds}.

    `objective` maps row losses of forget (B_f,), retain (B_r,) and the reference's losses of the same forget rows to per-row
    terms. `log` gets one JSON line a step: losses in nats, lr, gradient norm before clipping, tokens. `resume` is a
    folder for the state of a killed run, saved when resume.Clock says so and taken up only if its `identity` is the same.
    `precision` is a policy of wagle/training/optimizers.py.
    Raises WagleError when a loss or gradient is not finite, naming the step, its rows and the tensor.
    """
    if model.device.type == "cpu":
        keep_freed()
    shards = Shards(model)
    parameters, first = shards.parameters, shards.rank == 0
    optimizer = policies.optimizer(precision, parameters, shards.cut(masks), weight_decay)
    resume = resume if shards.world == 1 else None
    done, lines = resume_state.take_up(resume, identity, parameters, optimizer)
    started, clock, tokens = time.monotonic(), resume_state.Clock(resume_seconds), 0
    model.train()
    numbers = range(done, len(steps))
    for number in tqdm(
        numbers, initial=done, total=len(steps), mininterval=5, desc="train", disable=not first
    ):
        # dropout and rounding: a resumed run draws what the undisturbed one drew, each process something else
        torch.manual_seed((seed * 1_000_003 + number) ^ (shards.rank << 48))
        step = steps[number]
        with checkpointed(model, activation_checkpointing):
            losses, used = _backward(
                model,
                forget,
                retain,
                step,
                objective,
                pad_id,
                token_budget,
                autocast,
                reference,
                shards,
            )
        tokens += used
        if not np.isfinite(sum(losses)):
            raise WagleError(
                f"step {number}: forget loss {losses[0]}, retain loss {losses[1]} "
                f"(forget rows {step.forget}, retain rows {step.retain})",
                "finite losses",
                "lower the learning rate or use precision fp32",
            )
        total = shards.norm()
        norm = float(total)
        if not np.isfinite(norm):
            bad = [
                n
                for n, p in parameters.items()
                if p.grad is not None and not torch.isfinite(p.grad).all()
            ]
            raise WagleError(
                f"step {number}: gradient of {', '.join(bad[:3]) or 'the model'} has NaN or Inf",
                "finite gradients",
            )
        torch.nn.utils.clip_grads_with_norm_(parameters.values(), clip, total)
        rate = learning_rate(number, len(steps), lr, warmup)
        optimizer.step(rate)
        line = {
            "step": number,
            "forget": losses[0],
            "retain": losses[1],
            "lr": rate,
            "gradient_norm": norm,
            "tokens": used,
        }
        lines.append(json.dumps(line) + "\n")
        if resume is not None and clock.due():
            with clock.saving():
                resume_state.save(resume, identity, number + 1, parameters, optimizer, lines)
    model.eval()
    if log is not None and first:
        log.write_text("".join(lines), encoding="utf-8")
    return {"steps": len(steps), "tokens": tokens, "seconds": time.monotonic() - started}


def _backward(
    model, forget, retain, step, objective, pad_id, token_budget, autocast, reference, shards
):
    """Accumulate the step's gradient; returns its (forget, retain) losses and the number of tokens."""
    rows = [forget[i] for i in step.forget] + [retain[i] for i in step.retain]
    split, sums = len(step.forget), [0.0, 0.0]
    for mine in shards.batches([len(row) for row in rows], token_budget):
        batch = sorted(
            mine or [0]
        )  # forget rows first; without a row left, one that counts nothing
        cut = sum(i < split for i in batch)
        # no cache: it would keep a bf16 copy of every weight until the pass is over, of sharded and of checkpointed ones too
        with torch.autocast(
            model.device.type, torch.bfloat16, enabled=autocast == "bf16", cache_enabled=False
        ):
            losses = answer_loss(model, [rows[i] for i in batch], pad_id)
        known = None
        if reference is not None:
            known = reference.rows(
                torch.tensor([step.forget[i] for i in batch[:cut]], dtype=torch.long)
            )
            known = RowLoss(*(value.to(losses.mean.device) for value in known))
        terms = objective(losses.rows(slice(0, cut)), losses.rows(slice(cut, None)), known)
        parts = [terms[0].sum() / split, terms[1].sum() / max(1, len(step.retain))]
        (
            (parts[0] + parts[1]) * (shards.world if mine else 0)
        ).backward()  # fully_shard takes the mean over processes
        sums = [
            total + float(part.detach()) * bool(mine)
            for total, part in zip(sums, parts, strict=True)
        ]
    shards.collect()
    return shards.total(torch.tensor(sums, dtype=torch.float64)).tolist(), sum(map(len, rows))
