"""Peak GPU memory of each stage at LLaMA-2-7B's widths, printed as JSON: case -> layers -> GB.

Each case runs the project's own functions on a fake GPU. Every block adds the same, so two numbers
of layers tell what 32 take; one case has all 32.
"""

import dataclasses
import json
from collections.abc import Callable
from functools import partial

import torch
from fake_gpu import Accounting, fake_gpu, llama

from wagle.attribution.gradients import accumulate
from wagle.data.prompts import Encoded
from wagle.evaluation.scoring import statistics
from wagle.experiment.model_shape import SHAPES
from wagle.objectives import graddiff
from wagle.training.data import TrainingData
from wagle.training.loop import fit
from wagle.training.objective import Objective
from wagle.training.optimizers import POLICIES, Decay, make_optimizer, weight_precision
from wagle.training.options import TrainingOptions

SHAPE = SHAPES["meta-llama/Llama-2-7b-hf"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
LENGTH, PROMPT = 75, 25  # tokens of a text, and of its question: two thirds carry loss
NEW_TOKENS = 200  # of generation
LAYERS, WHOLE = (2, 3), "unlearn fp32"


def texts(count: int) -> list[Encoded]:
    return [Encoded(tuple(range(3, 3 + LENGTH)), PROMPT, False)] * count


def gradients(model, tokens: int, *, checkpointed: bool) -> None:
    accumulate(model, texts(tokens // LENGTH), 0, tokens, activation_checkpointing=checkpointed)


def training(model, *, masked: bool, **options) -> None:
    """Two steps: the second one has the moments."""
    size = options["batch_size"]
    data = TrainingData(texts(size), texts(size) if masked else [], pad_id=0)
    masks = {n: torch.ones(p.shape, dtype=torch.bool) for n, p in model.named_parameters()}
    settings = TrainingOptions(
        lr=1e-5, weight_decay=0.1, warmup=0.1, seed=0, token_budget=1 << 20, steps=2, **options
    )
    fit(model, data, Objective(graddiff.loss), settings, masks=masks if masked else None)


@torch.no_grad()
def scoring(model, tokens: int) -> None:
    ids = torch.zeros((tokens // LENGTH, LENGTH), dtype=torch.long, device="cuda:0")
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    for row, labels in zip(logits, ids, strict=True):
        statistics(row[:-1].float(), labels[1:])


@torch.no_grad()
def generation(model, tokens: int) -> None:
    """The prompts' pass, and the step of the last new token, when the cache is full."""
    from transformers import DynamicCache

    cache, rows = DynamicCache(), tokens // (LENGTH + NEW_TOKENS)
    heads, width = SHAPE.kv_heads, SHAPE.hidden // SHAPE.heads
    decode(model, cache, torch.zeros((rows, LENGTH), dtype=torch.long, device="cuda:0"))
    for layer in range(model.config.num_hidden_layers):
        new = torch.zeros((rows, heads, NEW_TOKENS - 2, width), dtype=model.dtype, device="cuda:0")
        cache.update(new, new, layer)
        del new
    decode(model, cache, torch.zeros((rows, 1), dtype=torch.long, device="cuda:0"))


def decode(model, cache, ids: torch.Tensor) -> None:
    model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)


def cases() -> dict[str, tuple[str, Callable]]:
    """Name -> precision of the weights, and what runs with the model.

    Eight texts are a step of unlearning. Fine-tuning takes 32, so that activations matter.
    """
    result = {
        "gradients": ("bf16", partial(gradients, tokens=4096, checkpointed=False)),
        "gradients checkpointed": ("bf16", partial(gradients, tokens=4096, checkpointed=True)),
        "scoring": ("bf16", partial(scoring, tokens=16384)),
        "generation": ("bf16", partial(generation, tokens=65536)),
    }
    for policy in POLICIES:
        options = {"precision": policy, "batch_size": 4}
        options |= {"autocast": "bf16"} if policy == "fp32" else {}
        stage = partial(training, masked=True, **options)
        result[f"unlearn {policy}"] = (weight_precision(policy), stage)
    options = {"autocast": "bf16", "batch_size": 4, "offload_moments": True}
    result["unlearn fp32 offloaded"] = ("fp32", partial(training, masked=True, **options))
    for precision in ("fp32", "bf16"):
        for suffix, more in (
            ("", {}),
            (" checkpointed", {"activation_checkpointing": True}),
            (" autocast", {"autocast": "bf16"}),
        ):
            options = {"precision": precision, "batch_size": 32} | more
            stage = partial(training, masked=False, **options)
            result[f"finetune {precision}{suffix}"] = (precision, stage)
    del result["finetune bf16 autocast"]  # bf16 weights need none
    return result


def peak(account: Accounting, layers: int, precision: str, stage: Callable) -> float:
    model = llama(dataclasses.replace(SHAPE, layers=layers), DTYPES[precision])
    account.reset()
    stage(model)
    return account.peak / 1e9


def optimizer_traffic(account: Accounting, policy: str) -> float:
    """Bytes that one masked step of the optimizer moves for each weight."""
    n = 1 << 20
    weights = torch.empty(n, dtype=DTYPES[weight_precision(policy)], device="cuda:0")
    optimizer = make_optimizer(
        policy, {"w": weights}, {"w": torch.ones(n, dtype=torch.bool)}, Decay(0.1)
    )
    for _ in range(2):  # the first step makes the moments
        weights.grad = torch.empty_like(weights)
        account.reset()
        optimizer.step(1e-5)
    return account.traffic / n


def main() -> None:
    with fake_gpu() as account:
        peaks = {
            name: {layers: peak(account, layers, *case) for layers in LAYERS}
            for name, case in cases().items()
        }
        peaks[WHOLE][32] = peak(account, 32, *cases()[WHOLE])
        traffic = {policy: optimizer_traffic(account, policy) for policy in POLICIES}
    print(json.dumps({"peaks": peaks, "traffic": traffic}))


if __name__ == "__main__":
    main()
