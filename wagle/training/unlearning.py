"""One unlearning run: from rows, an objective and a selection of weights to an updated model.

theta = m * theta + (1 - m) * theta_o (paper, eq. 8): weights outside the mask m keep theta_o's
bits. LoRA trains adapters instead and merges them. Everything random (row order, retain pairs,
refusals, adapter initialisation) follows from the seed.

Notable: after the run every weight is compared bit by bit with the checkpoint it came from. Under
`decay_frozen` frozen weights do move; then each is compared with what weight decay alone makes of
it, and the record says so.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from wagle.data.encoding import encode_rows
from wagle.data.prompts import Encoded
from wagle.errors import WagleError
from wagle.model import tensors
from wagle.model.adapters import add_adapters, merge
from wagle.model.losses import RowLoss, answer_loss
from wagle.training.loop import TrainingData, fit
from wagle.training.objective import Objective
from wagle.training.optimizers import norms_and_biases, weight_precision
from wagle.training.options import TrainingOptions
from wagle.training.resume import ResumeFolder
from wagle.training.schedule import learning_rate
from wagle.training.shards import Shards, gather

BIT_VIEWS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes per element


@dataclass(frozen=True)
class UnlearningRows:
    """Rows as read from the splits; `refusals` are the answers that PO trains on."""

    forget: list[dict]
    retain: list[dict]
    refusals: list[str] | None = None


@dataclass(frozen=True)
class MovedWeights:
    """How many weights a run changed, of those it could change and of those it must not."""

    selected: int
    selected_moved: int
    frozen: int
    frozen_moved: int

    @property
    def share_moved(self) -> float:
        """Share of the selected weights that moved, in [0, 1]."""
        return self.selected_moved / max(1, self.selected)


class Unlearned(NamedTuple):
    """The updated model and the record that becomes moved.json.

    Of a sharded model the first process gets both; the others get None and an empty record.
    """

    model: object
    record: dict


@torch.no_grad()
def reference_losses(
    model, rows: list[Encoded], pad_id: int, token_budget: int, autocast: str = "none"
) -> RowLoss:
    """Losses of all `rows` under the model's present weights: NPO's reference, computed once.

    `autocast` must be that of the training run, or the difference of two precisions would enter the
    log-ratio. Returns shapes (len(rows),), in row order, fp32, on the CPU.
    """
    shards = Shards(model)
    columns = [torch.zeros(len(rows)) for _ in RowLoss._fields]
    for batch in shards.local_batches([len(row) for row in rows], token_budget):
        with torch.autocast(
            model.device.type, torch.bfloat16, enabled=autocast == "bf16", cache_enabled=False
        ):
            # without a row of its own, a process passes row 0 to keep step with the others
            losses = answer_loss(model, [rows[i] for i in batch or [0]], pad_id)
        for column, values in zip(columns, losses, strict=True):
            column[batch] = values.float().cpu()[: len(batch)]
    return RowLoss(*map(shards.sum_over_processes, columns))


@dataclass(frozen=True)
class FrozenDecay:
    """What weight decay alone makes of frozen weights in a run.

    factor: product of a weight's factors over the steps.
    steps: number of steps, each of which may round.
    exempt: names of the parameters without decay.
    """

    factor: float
    steps: int
    exempt: frozenset[str]

    def explains(self, name: str, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        """Which weights `after` of parameter `name` are the weights `before`, decayed.

        A weight keeps its sign and never grows. It is no smaller than the factors make it and a
        rounding at each step, which in bf16 may be as large as the decay itself.
        """
        if name in self.exempt:
            return before == after
        info = torch.finfo(after.dtype)
        least_factor = max(0.0, self.factor - (self.steps + 2) * info.eps)
        before, after = before.float(), after.float()
        least = before.abs() * least_factor - self.steps * info.tiny
        has_shrunk = (after.abs() <= before.abs()) & (after.abs() >= least)
        return has_shrunk & (torch.signbit(before) == torch.signbit(after))


def count_moved(
    model,
    checkpoint: str | Path,
    masks: dict[str, torch.Tensor] | None,
    decay: FrozenDecay | None = None,
) -> MovedWeights:
    """Compare `model` with `checkpoint` bit by bit, in the model's own dtype.

    Without `masks` (name -> bool) all weights count as selected. With `decay` frozen weights may
    differ as it explains.

    Raises WagleError when a frozen weight moved otherwise.
    """
    parameters = dict(model.named_parameters())
    selected = selected_moved = frozen = frozen_moved = unexplained = 0
    for name, before in tensors.stream(checkpoint, parameters):
        after = parameters[name].detach().cpu()
        bits = BIT_VIEWS[after.element_size()]
        changed = before.to(after.dtype).view(bits) != after.view(bits)
        mask = torch.ones_like(changed) if masks is None else masks[name]
        selected += int(mask.sum())
        selected_moved += int((changed & mask).sum())
        frozen += int((~mask).sum())
        changed &= ~mask
        frozen_moved += int(changed.sum())
        if decay is None:
            unexplained += int(changed.sum())
        else:
            explained = decay.explains(name, before.to(after.dtype)[changed], after[changed])
            unexplained += int((~explained).sum())
    if unexplained:
        raise WagleError(
            f"{unexplained} frozen weights changed",
            "none" if decay is None else "weight decay alone",
            "report this defect",
        )
    return MovedWeights(selected, selected_moved, frozen, frozen_moved)


def frozen_decay(model, options: TrainingOptions, steps: int) -> FrozenDecay:
    """What `decay_frozen` makes of frozen weights in a run of `steps` steps."""
    rates = (learning_rate(n, steps, options.lr, options.warmup) for n in range(steps))
    return FrozenDecay(
        factor=math.prod(1 - lr * options.weight_decay for lr in rates),
        steps=steps,
        exempt=norms_and_biases(model) if options.decay_exempt else frozenset(),
    )


def check_moved(moved: MovedWeights, least_share: float, options: TrainingOptions) -> None:
    """Raise WagleError when less than `least_share` of the selected weights moved.

    Such a run has trained nothing: its updates were smaller than the weights' precision.
    """
    if moved.share_moved < least_share:
        raise WagleError(
            f"only {moved.share_moved:.2%} of the selected weights moved "
            f"(precision {options.precision}, learning rate {options.lr:g})",
            f"at least {least_share:.0%}",
            "use precision fp32 or a higher learning rate; "
            "to study the effect itself, set unlearning.least_moved to 0",
        )


def unlearn(
    model,
    tokenizer,
    rows: UnlearningRows,
    objective: Objective,
    options: TrainingOptions,
    *,
    checkpoint: str | Path,
    encoding: dict,
    least_moved: float,
    masks: dict[str, torch.Tensor] | None = None,
    adapters: dict | None = None,
    log: Path | None = None,
    resume: ResumeFolder | None = None,
) -> Unlearned:
    """Run one cell of the experiment.

    checkpoint: the folder that `model` was loaded from, to which the result is compared.
    encoding: keyword arguments of encode_rows().
    least_moved: share of the selected weights that must move, in [0, 1].
    masks: selected weights by parameter name, boolean tensors of the parameters' shapes.
    adapters: keyword arguments of add_adapters(), for LoRA instead of masks.
    log, resume: as in fit().

    Raises WagleError when refusals are needed and missing, when too few of the selected weights
    moved, when a frozen weight moved by more than `decay_frozen` explains, and as fit() does.
    """
    data = _encode(tokenizer, rows, objective, encoding, options.seed)
    reference = None
    if objective.needs_reference:
        reference = reference_losses(
            model, data.forget, data.pad_id, options.token_budget, options.autocast
        )
    fit_options = options
    if adapters is not None:
        model = add_adapters(model, seed=options.seed, **adapters)
        # adapters are stored in fp32 whatever the model's precision is
        fit_options = dataclasses.replace(options, precision="fp32")
    summary = fit(
        model,
        data,
        objective,
        fit_options,
        masks=masks,
        reference=reference,
        log=log,
        resume=resume,
    )
    decay = None
    if options.decay_frozen and adapters is None:  # what adapters stand on gets no decay
        decay = frozen_decay(model, options, summary.steps)
    if adapters is not None:
        model, adapted = merge(model)
        masks = {
            name: torch.full(parameter.shape, name in adapted)
            for name, parameter in model.named_parameters()
        }
    model = gather(model, checkpoint, weight_precision(options.precision))
    if model is None:
        return Unlearned(None, {})
    moved = count_moved(model, checkpoint, masks, decay)
    check_moved(moved, least_moved, options)
    record = dataclasses.asdict(moved) | {
        "share_moved": moved.share_moved,
        "steps": summary.steps,
        "precision": options.precision,
        "lr": options.lr,
    }
    if decay is not None:
        record["frozen_decay_factor"] = decay.factor
    return Unlearned(model, record)


def _encode(
    tokenizer, rows: UnlearningRows, objective: Objective, encoding: dict, seed: int
) -> TrainingData:
    """Token ids of the rows; refusals replace the forget answers where the objective wants them."""
    refusals = rows.refusals if objective.forget_labels == "refusal" else None
    if objective.forget_labels == "refusal" and not refusals:
        raise WagleError(
            f"{objective.name} needs refusal answers, and there are none", "a split `refusals`"
        )
    return TrainingData(
        forget=encode_rows(tokenizer, rows.forget, refusals=refusals, seed=seed, **encoding),
        retain=encode_rows(tokenizer, rows.retain, **encoding),
        pad_id=tokenizer.pad_token_id,
    )
