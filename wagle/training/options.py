"""The settings of a training run that fine-tuning and unlearning share.

A config block becomes one frozen object at the border of the library, in `wagle/training/entry.py`
and in the scripts. Everything below passes that object on. A new training option is one more field
here, and its entry in config/schema.json.

Notable: ranges of values are checked once, by config/schema.json. This module checks names alone.
Left out: what only unlearning has (objective, mask, adapters, the least share of moved weights).
"""

from dataclasses import MISSING, dataclass, fields
from typing import Self

from wagle.errors import WagleError


@dataclass(frozen=True)
class TrainingOptions:
    """Settings of one training run; the fields carry the names of the config keys.

    lr: peak learning rate of the linear schedule.
    weight_decay: decoupled decay of AdamW, a factor of the learning rate.
    batch_size: forget rows (or rows to fine-tune on) in one optimizer step.
    warmup: fraction of the steps in which the learning rate rises from 0 to `lr`.
    token_budget: upper limit of a forward pass, in tokens with padding. It changes memory and
        speed, not the result.
    seed: drives row order, retain pairs, refusals, adapter initialisation and dropout.
    epochs: passes over the rows. `steps`, where it is set, takes precedence.
    steps: number of optimizer steps.
    clip: largest L2 norm of the gradient over all weights.
    precision: how weights and moments are stored, one of `optimizers.POLICIES`.
    autocast: `bf16` runs matrix products in bfloat16; `none` leaves them alone.
    activation_checkpointing: recompute each block in the backward pass to save memory.
    offload_moments: keep the moments in host memory and stream them to the GPU in each step. Only
        with precision fp32.
    decay_frozen: weight decay acts on frozen weights too.
    decay_exempt: weight decay spares norms and biases.
    retain_with_replacement: each retain row is drawn by itself, so an epoch may repeat one.
    """

    lr: float
    weight_decay: float
    batch_size: int
    warmup: float
    token_budget: int
    seed: int
    epochs: int = 1
    steps: int | None = None
    clip: float = 1.0
    precision: str = "fp32"
    autocast: str = "none"
    activation_checkpointing: bool = False
    offload_moments: bool = False
    decay_frozen: bool = False
    decay_exempt: bool = False
    retain_with_replacement: bool = False

    @classmethod
    def from_config(cls, block: dict) -> Self:
        """The options of config block `block`.

        Raises WagleError for a key that is no training option, when one without a default is
        missing, and for moments in host memory with another precision than fp32.
        """
        known = {field.name: field for field in fields(cls)}
        unknown = sorted(block.keys() - known.keys())
        if unknown:
            raise WagleError(
                f"unknown training option {', '.join(map(repr, unknown))}",
                f"one of {', '.join(known)}",
            )
        missing = [
            name for name, field in known.items() if field.default is MISSING and name not in block
        ]
        if missing:
            raise WagleError(f"training options without {', '.join(missing)}")
        options = cls(**block)
        if options.offload_moments and options.precision != "fp32":
            raise WagleError(
                f"offload_moments with precision {options.precision}",
                "precision fp32, the only one whose moments can lie in host memory",
            )
        return options
