"""Perplexity of raw text in windows, as pruning papers report WikiText's (SparseGPT, Wanda).

All rows joined by a blank line are one stream of tokens, cut into windows; the last, shorter one is dropped. Perplexity is
exp of the mean negative log-likelihood in nats per predicted token. Depends on the tokenizer: models with different ones
are not comparable.
"""

import math

import numpy as np

from wagle.data.prompts import Encoded
from wagle.errors import WagleError
from wagle.evaluation.scoring import token_scores


def windows(tokenizer, texts: list[str], window: int) -> list[Encoded]:
    """Windows of `window` tokens, no special tokens. Raises WagleError when the text is shorter than one."""
    ids = tokenizer("\n\n".join(texts), add_special_tokens=False, verbose=False)["input_ids"]
    cut = [
        Encoded(tuple(ids[i : i + window]), 1, False)
        for i in range(0, len(ids) - window + 1, window)
    ]
    if not cut:
        raise WagleError(f"text of {len(ids)} tokens", f"at least one window of {window}")
    return cut


def perplexity(model, tokenizer, texts: list[str], *, window: int, token_budget: int) -> dict:
    """{value, se, n}: n windows; se is the delta method's over windows (None for one window)."""
    rows = windows(tokenizer, texts, window)
    scored = token_scores(model, rows, tokenizer.pad_token_id, token_budget)
    loss = np.array([-float(columns["log_prob"].astype(np.float64).mean()) for columns in scored])
    value = math.exp(loss.mean())
    se = value * float(loss.std(ddof=1)) / math.sqrt(len(loss)) if len(loss) > 1 else None
    return {"value": value, "se": se, "n": len(loss)}
