"""Which weights a run trained: moved by more than weight decay alone would have moved them.

Weight decay shrinks every selected weight, whatever the data say. Over a run it multiplies a weight
by the product of 1 - lr_t * weight_decay over the steps t. So nearly all weights of a run without
any gradient differ from where they started, and a count of changed bits does not notice.
Here a weight counts as trained if, rounded as evaluation reads it, it lies outside the range in
which decay alone could have put it.

The range allows for what rounding accumulates in the steps, by policy:

    fp32              half a unit in the last place (2^-24) for each product, and for each factor
    bf16              nothing where each step shrinks by less than 2^-9: to nearest, the weight
                      then stays where it is; else half a unit in the last place (2^-8) a step
    bf16-stochastic   a whole unit (2^-7) for each step that rounds down; by chance there are more
                      such steps for one weight in a thousand
    bf16-kahan        what the compensation loses, 2^-15 a step, and then one rounding

Notable: rounding is monotone, so rounded bounds bound the rounded weight. Adapters decay
themselves, not the weights that they are merged into: without gradients these keep their bits.
Left out: weights whose magnitude is below the smallest normal number of their precision.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy import stats

from wagle.errors import WagleError
from wagle.model import tensors
from wagle.runtime.threads import pieces
from wagle.training.options import TrainingOptions
from wagle.training.schedule import learning_rate

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
BY_CHANCE = 1e-3  # share of weights that stochastic rounding alone may move beyond the range


@dataclass(frozen=True)
class FactorRange:
    """Decay alone multiplies a weight by a factor between `low` and `high`."""

    low: float
    high: float


@dataclass(frozen=True)
class TrainedWeights:
    """How many of the selected weights moved by more than decay, as evaluation reads them."""

    selected: int
    trained: int
    evaluation_precision: str

    @property
    def share_trained(self) -> float:
        """Share of the selected weights that were trained, in [0, 1]."""
        return self.trained / max(1, self.selected)


def decay_alone(options: TrainingOptions, steps: int) -> FactorRange:
    """What `steps` steps of `options` do to a weight without gradients."""
    rates = [learning_rate(t, steps, options.lr, options.warmup) for t in range(steps)]
    shrinking = [rate * options.weight_decay for rate in rates if rate * options.weight_decay > 0]
    if not shrinking:
        return FactorRange(1.0, 1.0)
    factor = math.prod(1 - x for x in shrinking)
    slack = {"fp32": 2**-23, "bf16": 2**-8, "bf16-kahan": 2**-15}.get(options.precision, 0.0)
    if options.precision == "bf16" and max(shrinking) < 2**-9:
        return FactorRange(1.0, 1.0)
    if options.precision == "bf16-stochastic":
        down = int(stats.poisson.isf(BY_CHANCE, sum(shrinking) * 2**8))
        return FactorRange((1 - 2**-7) ** down, 1.0)
    slack *= len(shrinking)
    return FactorRange(factor * (1 - slack), factor * (1 + slack))


def decay_bounds(options: TrainingOptions, steps: int) -> FactorRange:
    """What decay alone can at most do to any weight: as decay_alone(), without its chance."""
    decay = decay_alone(options, steps)
    if options.precision != "bf16-stochastic":
        return decay
    return FactorRange((1 - 2**-7) ** steps if decay.low < 1 else 1.0, 1.0)


def outside(
    before: torch.Tensor,
    after: torch.Tensor,
    decay: FactorRange,
    rounded: torch.dtype | None = None,
) -> torch.Tensor:
    """Which weights `after` are not what `decay` makes of the weights `before`, of the same dtype.

    rounded: the precision in which they are compared, or None for their own.
    """
    rounded = after.dtype if rounded is None else rounded
    bounds = torch.stack([before.double() * decay.low, before.double() * decay.high])
    bounds = bounds.to(after.dtype).to(rounded)
    after = after.to(rounded)
    return (after < bounds.amin(0)) | (after > bounds.amax(0))


@torch.no_grad()
def count_trained(
    model,
    checkpoint: str | Path,
    masks: dict[str, torch.Tensor] | None,
    decay: FactorRange,
    evaluation_precision: str,
    exempt: frozenset[str] = frozenset(),
) -> TrainedWeights:
    """Compare `model` with what `decay` alone makes of `checkpoint`; parameters `exempt` have none.

    Both are rounded to `evaluation_precision`, fp32 or bf16. Without `masks` (name -> bool) all
    weights count as selected. Raises WagleError for another precision.
    """
    if evaluation_precision not in DTYPES:
        raise WagleError(f"precision {evaluation_precision!r}", f"one of {', '.join(DTYPES)}")
    rounded, parameters = DTYPES[evaluation_precision], dict(model.named_parameters())
    selected = trained = 0
    for name, before in tensors.stream(checkpoint, parameters):
        after = parameters[name].detach().cpu().contiguous()
        mask = torch.ones_like(after, dtype=torch.bool) if masks is None else masks[name]
        start = before.to(after.dtype).contiguous()
        own = FactorRange(1.0, 1.0) if name in exempt else decay
        for old, new, among in pieces(start, after, mask.contiguous()):
            beyond = outside(old, new, own, rounded)
            selected += int(among.sum())
            trained += int((beyond & among).sum())
    return TrainedWeights(selected, trained, evaluation_precision)


def check_trained(weights: TrainedWeights, least_share: float, options: TrainingOptions) -> None:
    """Raise WagleError when less than `least_share` of the selected weights were trained.

    Such a run has learned nothing: its gradients were zero, or its updates were smaller than the
    precision of the weights or of evaluation.
    """
    if weights.share_trained < least_share:
        raise WagleError(
            f"only {weights.share_trained:.2%} of the selected weights moved by more than weight "
            f"decay alone (precision {options.precision}, evaluated in "
            f"{weights.evaluation_precision}, learning rate {options.lr:g})",
            f"at least {least_share:.0%}",
            "use precision fp32 or a higher learning rate, or evaluate in fp32; "
            "to study the effect itself, set unlearning.least_moved to 0",
        )
