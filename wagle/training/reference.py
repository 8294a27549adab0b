"""The model before unlearning, as far as an objective reads it.

Losses of the forget rows are computed once, before training, and need no second model. Logits and
hidden states are too many to store: a second model stays beside the trained one, frozen, and passes
each batch. It costs its weights, and a forward pass a step.

Left out: taking LoRA's base weights as that model, which would spare the second copy.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from wagle.data.prompts import Encoded
from wagle.model.losses import RowLoss, answer_loss
from wagle.training.data import TrainingData
from wagle.training.objective import Objective
from wagle.training.options import TrainingOptions
from wagle.training.shards import Shards


@dataclass(frozen=True)
class Reference:
    """What is known of the model before unlearning.

    losses, refusal_losses: of all forget rows, and of their questions with refusals, each
        (rows,), where an objective needs them.
    model: the model itself, where an objective needs its logits or hidden states.
    """

    losses: RowLoss | None = None
    refusal_losses: RowLoss | None = None
    model: torch.nn.Module | None = None


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


def make_reference(
    model,
    data: TrainingData,
    objective: Objective,
    options: TrainingOptions,
    load: Callable[[], torch.nn.Module],
) -> Reference:
    """What `objective` needs of `model`, which is not trained yet; `load` makes the model again."""
    settings = (data.pad_id, options.token_budget, options.autocast)
    losses = refusal_losses = second = None
    if "forget.reference" in objective.needs:
        losses = reference_losses(model, data.forget, *settings)
    if "forget.refusal.reference" in objective.needs:
        refusal_losses = reference_losses(model, data.refusals, *settings)
    if objective.has_reference_model:
        second = load().eval().requires_grad_(False)
    return Reference(losses, refusal_losses, second)
