"""Fine-tuning on question-answer rows: makes the target, the retrained model, and a scratch model's general knowledge."""

from pathlib import Path

from wagle import training
from wagle.encoding import encode_rows
from wagle.objectives.finetune import loss


def finetune(model, tokenizer, rows: list[dict], *, template: str, max_length: int, lr: float, epochs: int, batch_size: int,
             weight_decay: float, warmup: float, token_budget: int, seed: int, clip: float = 1.0, autocast: str = "none",
             resume: Path | None = None, identity: str = "") -> dict:  # fmt: skip
    """Train `model` in place on the answers of `rows`; returns {steps, tokens, seconds}."""
    encoded = encode_rows(tokenizer, template, rows, max_length)
    steps = training.plan(len(encoded), 0, batch_size=batch_size, seed=seed, epochs=epochs)
    return training.fit(
        model, encoded, [], steps, loss, pad_id=tokenizer.pad_token_id, lr=lr, weight_decay=weight_decay, warmup=warmup,
        clip=clip, token_budget=token_budget, seed=seed, autocast=autocast, resume=resume, identity=identity,
    )  # fmt: skip
