"""One unlearning run: from rows, a method and a selection to an updated model, and what share of it moved.

theta = m * theta + (1 - m) * theta_o (paper, eq. 8): masked-out weights keep theta_o's bits. LoRA trains adapters and merges
them. Everything that is drawn (data order, retain pairs, refusals, adapter init) follows from `seed`.
"""

import functools
import importlib
from pathlib import Path

import torch

from wagle.data.encoding import encode_rows
from wagle.data.prompts import Encoded
from wagle.errors import WagleError
from wagle.model import tensors
from wagle.model.adapters import add_adapters, merge
from wagle.model.losses import RowLoss, answer_loss
from wagle.training import loop
from wagle.training import optimizers as policies
from wagle.training.shards import Shards, gather


def objective(module: str, options: dict):
    """`loss` of an objective's module with its options bound, and the module. Raises WagleError where it does not fit."""
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise WagleError(f"objective module {module!r} cannot be imported: {error}") from None
    for name in ("loss", "FORGET_LABELS", "NEEDS_REFERENCE"):
        if not hasattr(found, name):
            raise WagleError(
                f"objective module {module!r} has no {name}", "the interface of docs/extending.md"
            )
    return functools.partial(found.loss, **options), found


@torch.no_grad()
def reference_losses(
    model, rows: list[Encoded], pad_id: int, token_budget: int, autocast: str = "none"
) -> RowLoss:
    """Losses of every row at the model's present weights, in row order, on the CPU: NPO's reference, computed once.

    `autocast` must be the training run's: a difference of two precisions would enter the log-ratio.
    """
    columns, shards = [torch.zeros(len(rows)) for _ in RowLoss._fields], Shards(model)
    for batch in shards.batches([len(row) for row in rows], token_budget):
        with torch.autocast(
            model.device.type, torch.bfloat16, enabled=autocast == "bf16", cache_enabled=False
        ):
            losses = answer_loss(model, [rows[i] for i in batch or [0]], pad_id)
        for column, value in zip(columns, losses, strict=True):
            column[batch] = value.float().cpu()[: len(batch)]
    return RowLoss(*map(shards.total, columns))


def moved(model, checkpoint: str | Path, masks: dict[str, torch.Tensor] | None) -> dict:
    """How many weights differ from `checkpoint`: {selected, selected_moved, frozen, frozen_moved, share_moved}.

    Compared bit by bit in the model's own dtype. Without masks all weights count as selected. Raises WagleError when
    a frozen weight moved.
    """
    parameters = dict(model.named_parameters())
    count = dict.fromkeys(("selected", "selected_moved", "frozen", "frozen_moved"), 0)
    for name, before in tensors.stream(checkpoint, parameters):
        after = parameters[name].detach().cpu()
        width = {2: torch.int16, 4: torch.int32, 8: torch.int64}[after.element_size()]
        changed = before.to(after.dtype).view(width) != after.view(width)
        mask = torch.ones_like(changed) if masks is None else masks[name]
        count["selected"] += int(mask.sum())
        count["selected_moved"] += int((changed & mask).sum())
        count["frozen"] += int((~mask).sum())
        count["frozen_moved"] += int((changed & ~mask).sum())
    if count["frozen_moved"]:
        raise WagleError(
            f"{count['frozen_moved']} frozen weights changed", "none", "report this defect"
        )
    return count | {"share_moved": count["selected_moved"] / max(1, count["selected"])}


def check_moved(record: dict, least: float, precision: str, lr: float) -> None:
    """Raise WagleError when fewer than `least` of the selected weights moved: such a run has trained nothing."""
    if record["share_moved"] < least:
        raise WagleError(
            f"only {record['share_moved']:.2%} of the selected weights moved (precision {precision}, learning rate {lr:g})",
            f"at least {least:.0%}",
            "use precision fp32 or a higher learning rate; to study the effect itself, set unlearning.least_moved to 0",
        )


def unlearn(
    model,
    tokenizer,
    forget: list[dict],
    retain: list[dict],
    *,
    refusals: list[str] | None,
    module: str,
    masks: dict[str, torch.Tensor] | None,
    checkpoint: str | Path,
    seed: int,
    encoding: dict,
    method: dict,
    adapters: dict | None,
    precision: str,
    autocast: str,
    batch_size: int,
    warmup: float,
    clip: float,
    token_budget: int,
    least_moved: float,
    activation_checkpointing: bool = False,
    log: Path | None = None,
    resume: Path | None = None,
    identity: str = "",
) -> tuple[object, dict]:
    """Run one cell; returns (model, record) with the shares moved, steps, precision and learning rate.

    Of a sharded model (wagle/training/shards.py) the first process gets them, the others (None, {}).

    `encoding` holds encode_rows' keywords; `method` lr, weight_decay, epochs or steps, and `options` of the objective; `masks`
    (name -> bool) or `adapters` (LoRA's options) or neither. Raises WagleError when nothing could be trained or a frozen
    weight changed.
    """
    loss, objective_module = objective(module, method.get("options", {}))
    labels = refusals if objective_module.FORGET_LABELS == "refusal" else None
    if objective_module.FORGET_LABELS == "refusal" and not refusals:
        raise WagleError(
            f"{module} needs refusal answers, and there are none", "a split `refusals`"
        )
    rows = encode_rows(tokenizer, forget, refusals=labels, seed=seed, **encoding)
    others = encode_rows(tokenizer, retain, **encoding)
    pad = tokenizer.pad_token_id
    reference = (
        reference_losses(model, rows, pad, token_budget, autocast)
        if objective_module.NEEDS_REFERENCE
        else None
    )
    if adapters is not None:
        model = add_adapters(model, seed=seed, **adapters)
    cut = loop.plan(len(rows), len(others), batch_size=batch_size, seed=seed, epochs=method.get("epochs", 1),
                        steps=method.get("steps"))  # fmt: skip
    kept = (
        precision if adapters is None else "fp32"
    )  # adapters are kept in fp32 whatever the model is
    done = loop.fit(
        model, rows, others, cut, loss, pad_id=pad, lr=method["lr"], weight_decay=method["weight_decay"], warmup=warmup,
        clip=clip, token_budget=token_budget, seed=seed, autocast=autocast, precision=kept,
        activation_checkpointing=activation_checkpointing, masks=masks, reference=reference, log=log,
        resume=resume, identity=identity,
    )  # fmt: skip
    if adapters is not None:
        model, adapted = merge(model)
        masks = {n: torch.full(p.shape, n in adapted) for n, p in model.named_parameters()}
    model = gather(model, checkpoint, policies.weights(precision))
    if model is None:
        return None, {}
    record = moved(model, checkpoint, masks)
    check_moved(record, least_moved, precision, method["lr"])
    return model, record | {"steps": done["steps"], "precision": precision, "lr": method["lr"]}
