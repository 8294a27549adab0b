"""The gradient of one step: forward and backward passes over its rows, in micro-batches.

A step's loss is the mean of the objective's per-row terms over its forget rows and over its retain
rows, added up, however the rows are divided. Forget and retain rows share forward passes.

Notable: an objective pays for what it asks. Without a word in its NEEDS there is one pass of one
model, and neither logits nor hidden states are kept. A refusal is passed with its forget row, for
a loss may compare the two.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from wagle.data.prompts import Encoded
from wagle.model.checkpointing import checkpointed
from wagle.model.losses import RowLoss
from wagle.model.outputs import RowOutputs, row_outputs
from wagle.training.data import TrainingData
from wagle.training.objective import ARGUMENTS, Objective
from wagle.training.options import TrainingOptions
from wagle.training.reference import Reference
from wagle.training.schedule import Step
from wagle.training.shards import Shards
from wagle.training.sharpness import perturbed


@dataclass(frozen=True)
class StepLosses:
    """The two parts of a step's loss, and the number of tokens of its rows.

    retain_cross_entropy: mean over the retain rows in nats, for an objective with a state; else 0.
    """

    forget: float
    retain: float
    tokens: int
    retain_cross_entropy: float = 0.0


@dataclass(frozen=True)
class MicroBatch:
    """The rows of one forward pass: forget rows, retain rows, and the forget rows' refusals if any.

    forget_indices: positions of the forget rows in `TrainingData.forget`.
    is_filler: the pass only keeps step with the other processes, and counts nothing.
    """

    forget: list[Encoded]
    retain: list[Encoded]
    refusals: list[Encoded]
    forget_indices: list[int]
    is_filler: bool


@dataclass(frozen=True)
class StepGradients:
    """Computes the gradient of one step at a time.

    local_masks: this process's parts of the masks, by parameter name; None trains all weights.
    """

    model: torch.nn.Module
    shards: Shards
    data: TrainingData
    objective: Objective
    options: TrainingOptions
    reference: Reference
    local_masks: dict[str, torch.Tensor] | None = None

    def accumulate(self, step: Step, state: dict[str, float]) -> StepLosses:
        """Add the gradient of `step` to the parameters' `grad`, and return the step's losses.

        state: the objective's, as it stands before the step.
        """
        if self.objective.rho is None:
            losses = self._backward(step, state)
        else:
            losses = self._backward_sharpness_aware(step, state, self.objective.rho)
        self.shards.collect_gradients()
        self._fill_absent_gradients()
        return losses

    def _backward_sharpness_aware(self, step: Step, state: dict, rho: float) -> StepLosses:
        """The forget gradient a short way uphill, and the retain gradient where the weights are."""
        forget, retain = Step(step.forget, ()), Step((), step.retain)
        forget_losses = self._backward(forget, state)
        self.shards.collect_gradients()
        with perturbed(self.shards, self.local_masks, rho):
            self._backward(forget, state)
        retain_losses = self._backward(retain, state)
        return dataclasses.replace(
            retain_losses, forget=forget_losses.forget, tokens=self._count_tokens(step)
        )

    def _backward(self, step: Step, state: dict[str, float]) -> StepLosses:
        """Forward and backward passes over the rows of `step`."""
        losses = []  # of each micro-batch; read once, for each reading waits for the GPU
        with checkpointed(self.model, self.options.activation_checkpointing):
            for batch in self.micro_batches(step):
                forget, retain = self.outputs(batch, step)
                forget_terms, retain_terms = self.terms(forget, retain, state)
                forget_part = forget_terms.sum() / max(1, len(step.forget))
                retain_part = retain_terms.sum() / max(1, len(step.retain))
                # fully_shard averages gradients over the processes, and a step needs their sum
                scale = 0 if batch.is_filler else self.shards.world_size
                ((forget_part + retain_part) * scale).backward()
                if not batch.is_filler:
                    parts = (forget_part, retain_part, retain.mean.sum())
                    losses.append(torch.stack([part.detach().double() for part in parts]))
        zeros = torch.zeros(3, dtype=torch.float64)
        local_losses = sum(torch.stack(losses).cpu(), zeros) if losses else zeros
        totals = self.shards.sum_over_processes(local_losses).tolist()
        return StepLosses(
            forget=totals[0],
            retain=totals[1],
            tokens=self._count_tokens(step),
            retain_cross_entropy=totals[2] / max(1, len(step.retain)),
        )

    def micro_batches(self, step: Step) -> Iterator[MicroBatch]:
        """The forward passes that this process makes for `step`.

        Each process of a sharded model makes equally many. One that has no row left passes the
        step's first row as a filler.
        """
        rows = self._rows(step)
        lengths = [len(row) for row in rows]
        if self.data.refusals:
            for place, index in enumerate(step.forget):
                lengths[place] = 2 * max(lengths[place], len(self.data.refusals[index]))
        for indices in self.shards.local_batches(lengths, self.options.token_budget):
            order = sorted(indices or [0])  # forget rows come first in `rows`
            forget_indices = [step.forget[i] for i in order if i < len(step.forget)]
            yield MicroBatch(
                forget=[self.data.forget[i] for i in forget_indices],
                retain=[rows[i] for i in order if i >= len(step.forget)],
                refusals=[self.data.refusals[i] for i in forget_indices if self.data.refusals],
                forget_indices=forget_indices,
                is_filler=not indices,
            )

    def outputs(self, batch: MicroBatch, step: Step) -> tuple[RowOutputs, RowOutputs]:
        """What the objective reads of the batch's forget rows and of its retain rows."""
        forget_count, retain_count = len(batch.forget), len(batch.retain)
        rows = batch.forget + batch.retain + batch.refusals
        all_outputs = self._forward(self.model, rows)
        forget = all_outputs.rows(slice(0, forget_count))
        retain = all_outputs.rows(slice(forget_count, forget_count + retain_count))
        more: dict = {"reference": self._losses_before(self.reference.losses, batch)}
        if self.data.refusals:
            refusal = all_outputs.rows(slice(forget_count + retain_count, None))
            before = self._losses_before(self.reference.refusal_losses, batch)
            more["refusal"] = dataclasses.replace(refusal, reference=before)
        of_retain: dict = {}
        if self.reference.model is not None:
            before_forget, before_retain = self._pass_reference(batch)
            more["reference"] = before_forget or more["reference"]
            of_retain["reference"] = before_retain
        forget = dataclasses.replace(
            forget,
            tokens_per_row=_answer_tokens(self.data.forget[i] for i in step.forget),
            **more,
        )
        retain = dataclasses.replace(
            retain,
            tokens_per_row=_answer_tokens(self.data.retain[i] for i in step.retain),
            **of_retain,
        )
        return forget, retain

    def _forward(self, model, rows: list[Encoded]) -> RowOutputs:
        # The cast cache would keep a bf16 copy of every weight until the pass is over, of sharded
        # and of checkpointed weights too.
        with torch.autocast(
            self.model.device.type,
            torch.bfloat16,
            enabled=self.options.autocast == "bf16",
            cache_enabled=False,
        ):
            return row_outputs(
                model,
                rows,
                self.data.pad_id,
                logits=self.objective.wants("logits"),
                layer=self.objective.layer if self.objective.wants("hidden") else None,
            )

    @torch.no_grad()
    def _pass_reference(self, batch: MicroBatch) -> tuple[RowOutputs | None, RowOutputs | None]:
        """Outputs of the model before unlearning, for the sides of the batch that ask for them.

        A process whose batch has no such row passes its first one, to keep step with the others.
        """
        has_forget, has_retain = (
            any(need.startswith(f"{side}.reference.") for need in self.objective.needs)
            for side in ("forget", "retain")
        )
        forget = batch.forget if has_forget else []
        retain = batch.retain if has_retain else []
        rows = forget + retain or (batch.forget + batch.retain)[:1]
        outputs = self._forward(self.reference.model, rows)
        end = len(forget) + len(retain)
        return (
            outputs.rows(slice(0, len(forget))) if has_forget else None,
            outputs.rows(slice(len(forget), end)) if has_retain else None,
        )

    def _losses_before(self, losses: RowLoss | None, batch: MicroBatch) -> RowLoss | None:
        if losses is None:
            return None
        indices = torch.tensor(batch.forget_indices, dtype=torch.long)
        return RowLoss(*(values.to(self.model.device) for values in losses.rows(indices)))

    def terms(
        self, forget: RowOutputs, retain: RowOutputs, state: dict[str, float]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The objective's terms of the forget rows (B_f,) and of the retain rows (B_r,)."""
        arguments = {
            "state": lambda: state,
            "draw": lambda: torch.Generator().manual_seed(self.options.seed),
        }
        wanted = [arguments[need]() for need in self.objective.needs if need in ARGUMENTS]
        return self.objective.loss(forget, retain, *wanted)

    def _fill_absent_gradients(self) -> None:
        """Zeros for weights that the loss does not reach, such as those above a hidden state."""
        for parameter in self.shards.parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)

    def _rows(self, step: Step) -> list[Encoded]:
        return [
            *(self.data.forget[i] for i in step.forget),
            *(self.data.retain[i] for i in step.retain),
        ]

    def _count_tokens(self, step: Step) -> int:
        refusals = [self.data.refusals[i] for i in step.forget if self.data.refusals]
        return sum(map(len, self._rows(step) + refusals))


def _answer_tokens(rows) -> float:
    """Mean number of answer tokens of some rows."""
    counts = [len(row) - row.start for row in rows]
    return sum(counts) / max(1, len(counts))
