"""One unlearning run: from rows, an objective and a selection of weights to an updated model.

theta = m * theta + (1 - m) * theta_o (paper, eq. 8): weights outside the mask m keep theta_o's
bits. LoRA trains adapters instead and merges them. Everything random (row order, retain pairs,
refusals, adapter initialisation) follows from the seed.

Notable: after the run every weight is compared bit by bit with the checkpoint it came from. Under
`decay_frozen` frozen weights do move; then each is compared with what weight decay alone makes of
it, and the record says so.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from wagle.data.encoding import encode_rows
from wagle.errors import WagleError
from wagle.model import tensors
from wagle.model.adapters import add_adapters, merge
from wagle.training import shards
from wagle.training.data import TrainingData
from wagle.training.loop import fit
from wagle.training.movement import (
    FactorRange,
    check_trained,
    count_trained,
    decay_alone,
    decay_bounds,
    outside,
)
from wagle.training.objective import Objective
from wagle.training.optimizers import norms_and_biases, weight_precision
from wagle.training.options import TrainingOptions
from wagle.training.reference import make_reference
from wagle.training.resume import ResumeFolder

BIT_VIEWS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes per element


@dataclass(frozen=True)
class UnlearningRows:
    """Rows as read from the splits; `refusals` are what PO and DPO train on."""

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


@dataclass(frozen=True)
class FrozenDecay:
    """Weight decay of frozen weights: what it may make of them, and the parameters that it spares.

    A weight keeps its sign. It lies between the two multiples of itself that `factors` gives.
    """

    factors: FactorRange
    exempt: frozenset[str] = frozenset()

    def of(self, name: str) -> FactorRange:
        """The range of parameter `name`."""
        return FactorRange(1.0, 1.0) if name in self.exempt else self.factors


def count_moved(
    model,
    checkpoint: str | Path,
    masks: dict[str, torch.Tensor] | None,
    decay: FrozenDecay | None = None,
) -> MovedWeights:
    """Compare `model` with `checkpoint` bit by bit, in the model's own dtype.

    Without `masks` (name -> bool) all weights count as selected. With `decay` frozen weights may
    differ as it says.

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
            old, new = before.to(after.dtype)[changed], after[changed]
            unexplained += int(outside(old, new, decay.of(name)).sum())
    if unexplained:
        raise WagleError(
            f"{unexplained} frozen weights changed",
            "none" if decay is None else "weight decay alone",
            "report this defect",
        )
    return MovedWeights(selected, selected_moved, frozen, frozen_moved)


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
    evaluation_precision: str = "fp32",
    masks: dict[str, torch.Tensor] | None = None,
    adapters: dict | None = None,
    log: Path | None = None,
    resume: ResumeFolder | None = None,
) -> Unlearned:
    """Run one cell of the experiment.

    checkpoint: the folder that `model` was loaded from, to which the result is compared.
    encoding: keyword arguments of encode_rows().
    least_moved: share of the selected weights that must move by more than weight decay alone, in
        [0, 1].
    evaluation_precision: fp32 or bf16, what evaluation rounds the weights to.
    masks: selected weights by parameter name, boolean tensors of the parameters' shapes.
    adapters: keyword arguments of add_adapters(), for LoRA instead of masks.
    log, resume: as in fit().

    Raises WagleError when refusals are needed and missing, when too few of the selected weights
    moved, when a frozen weight moved by more than `decay_frozen` explains, and as fit() does.
    """
    data = training_data(tokenizer, rows, objective, encoding, options.seed)
    precision = weight_precision(options.precision)
    reference = make_reference(
        model, data, objective, options, lambda: shards.again(model, checkpoint, precision)
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
    if adapters is not None:
        model, adapted = merge(model)
        masks = {
            name: torch.full(parameter.shape, name in adapted)
            for name, parameter in model.named_parameters()
        }
    model = shards.gather(model, checkpoint, precision)
    if model is None:
        return Unlearned(None, {})
    decay = FactorRange(1.0, 1.0) if adapters is not None else decay_alone(options, summary.steps)
    exempt = norms_and_biases(model) if options.decay_exempt else frozenset()
    # what adapters stand on gets no decay
    frozen_decay = None
    if options.decay_frozen and adapters is None:
        frozen_decay = FrozenDecay(decay_bounds(options, summary.steps), exempt)
    moved = count_moved(model, checkpoint, masks, frozen_decay)
    trained = count_trained(model, checkpoint, masks, decay, evaluation_precision, exempt)
    check_trained(trained, least_moved, options)
    record = dataclasses.asdict(moved) | {
        "share_moved": moved.share_moved,
        "trained": trained.trained,
        "share_trained": trained.share_trained,
        "evaluation_precision": evaluation_precision,
        "steps": summary.steps,
        "precision": options.precision,
        "lr": options.lr,
    }
    if frozen_decay is not None:
        record["frozen_factors"] = [frozen_decay.factors.low, frozen_decay.factors.high]
    return Unlearned(model, record)


def training_data(
    tokenizer, rows: UnlearningRows, objective: Objective, encoding: dict, seed: int
) -> TrainingData:
    """Token ids of the rows; refusals replace forget answers, or stand beside them, as asked."""
    replaces = objective.forget_labels == "refusal"
    if (replaces or "forget.refusal" in objective.needs) and not rows.refusals:
        raise WagleError(
            f"{objective.name} needs refusal answers, and there are none", "a split `refusals`"
        )
    answers = encode_rows(
        tokenizer, rows.forget, refusals=rows.refusals if replaces else None, seed=seed, **encoding
    )
    refusals = []
    if "forget.refusal" in objective.needs:
        refusals = encode_rows(
            tokenizer, rows.forget, refusals=rows.refusals, seed=seed, **encoding
        )
    retain = encode_rows(tokenizer, rows.retain, **encoding)
    if "retain.prompt" in objective.needs:
        retain = [dataclasses.replace(row, start=1) for row in retain]
    return TrainingData(
        forget=answers,
        retain=retain,
        pad_id=tokenizer.pad_token_id,
        refusals=refusals,
    )
