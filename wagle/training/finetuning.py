"""Fine-tuning on rows: makes the target, the retrained model, and a scratch model's general knowledge."""

from pathlib import Path

from wagle.data.encoding import encode_rows
from wagle.objectives.finetune import loss
from wagle.training import loop


def finetune(model, tokenizer, rows: list[dict], *, encoding: dict, lr: float, epochs: int, batch_size: int, weight_decay: float,
             warmup: float, token_budget: int, seed: int, clip: float = 1.0, autocast: str = "none", adapters: dict | None = None,
             resume: Path | None = None, identity: str = "") -> tuple[object, dict]:  # fmt: skip
    """Train on the answers (or the whole texts) of `rows`; returns (model, {steps, tokens, seconds}).

    `encoding` holds the keyword arguments of `encode_rows`. With `adapters` (LoRA's options) only they are trained, and merged.
    """
    encoded = encode_rows(tokenizer, rows, **encoding)
    if adapters:
        from wagle.model.adapters import add_adapters, merge

        model = add_adapters(model, seed=seed, **adapters)
    steps = loop.plan(len(encoded), 0, batch_size=batch_size, seed=seed, epochs=epochs)
    done = loop.fit(
        model, encoded, [], steps, loss, pad_id=tokenizer.pad_token_id, lr=lr, weight_decay=weight_decay, warmup=warmup,
        clip=clip, token_budget=token_budget, seed=seed, autocast=autocast, resume=resume, identity=identity,
    )  # fmt: skip
    return (merge(model)[0] if adapters else model), done
