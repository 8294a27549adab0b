"""Which rows each optimizer step takes, and with which learning rate.

Both are pure functions of the number of rows, the options and the seed. A resumed run can
therefore compute them again instead of storing them.
"""

from dataclasses import dataclass

import numpy as np

from wagle.errors import WagleError


@dataclass(frozen=True)
class Step:
    """Indices of the forget rows and of the retain rows of one optimizer step."""

    forget: tuple[int, ...]
    retain: tuple[int, ...]


def make_steps(
    forget: int,
    retain: int,
    *,
    batch_size: int,
    seed: int,
    epochs: int = 1,
    steps: int | None = None,
    retain_with_replacement: bool = False,
) -> list[Step]:
    """The optimizer steps of a run over `forget` forget rows and `retain` retain rows.

    The forget rows are reshuffled each epoch. Each is paired with one retain row that is sampled at
    random; with `retain` = 0, as in fine-tuning, there are no pairs. An epoch draws no retain row
    twice where there are enough of them, unless `retain_with_replacement` draws each by itself. A
    step has `batch_size` forget rows, the last one of an epoch may have fewer. The run has `epochs`
    epochs, or exactly `steps` steps where that is set, with as many epochs as these need.

    Raises WagleError when a count is below 1.
    """
    if forget < 1 or batch_size < 1 or epochs < 1 or (steps is not None and steps < 1):
        raise WagleError(
            f"{forget} rows, batch size {batch_size}, {epochs} epochs, {steps} steps",
            "at least 1 of each",
        )
    rng = np.random.default_rng([seed, 1])
    steps_per_epoch = -(-forget // batch_size)
    total = steps if steps is not None else epochs * steps_per_epoch
    result: list[Step] = []
    while len(result) < total:
        order = rng.permutation(forget)
        pairs = np.empty(0, int)
        if retain:
            replace = retain_with_replacement or retain < forget
            pairs = rng.choice(retain, size=forget, replace=replace)
        for start in range(0, forget, batch_size):
            batch = slice(start, start + batch_size)
            result.append(Step(tuple(order[batch].tolist()), tuple(pairs[batch].tolist())))
    return result[:total]


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """The learning rate of step `step` (from 0) of `steps`: linear warm-up, then linear decay to 0.

    `warmup` is the fraction of the steps that warm up to `peak`. The values are those of
    transformers.get_linear_schedule_with_warmup.
    """
    warmup_steps = int(steps * warmup)
    if step < warmup_steps:
        return peak * step / warmup_steps
    return peak * (steps - step) / max(1, steps - warmup_steps)
