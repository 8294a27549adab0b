"""Perplexity of raw text in windows, as pruning papers report WikiText's (SparseGPT, Wanda).

All rows joined by a blank line are one stream of tokens, cut into windows. The last, shorter window
is dropped. Perplexity is exp of the mean negative log-likelihood in nats per predicted token.

Notable: it depends on the tokenizer, so models with different tokenizers are not comparable.
"""

import math

import numpy as np

from wagle.data.prompts import Encoded
from wagle.errors import WagleError
from wagle.evaluation.scoring import token_scores


def windows(tokenizer, texts: list[str], window: int) -> list[Encoded]:
    """The texts as windows of `window` tokens each, without special tokens.

    Raises WagleError when all texts together are shorter than one window.
    """
    ids = tokenizer("\n\n".join(texts), add_special_tokens=False, verbose=False)["input_ids"]
    result = [
        Encoded(tuple(ids[i : i + window]), 1, False)
        for i in range(0, len(ids) - window + 1, window)
    ]
    if not result:
        raise WagleError(f"text of {len(ids)} tokens", f"at least one window of {window}")
    return result


def perplexity(model, tokenizer, texts: list[str], *, window: int, token_budget: int) -> dict:
    """{value, se, n}: the perplexity, its standard error, and the number of windows.

    The standard error is the delta method's over windows; it is None for one window.
    """
    rows = windows(tokenizer, texts, window)
    scored = token_scores(model, rows, tokenizer.pad_token_id, token_budget)
    loss = np.array([-float(columns["log_prob"].astype(np.float64).mean()) for columns in scored])
    value = math.exp(loss.mean())
    se = value * float(loss.std(ddof=1)) / math.sqrt(len(loss)) if len(loss) > 1 else None
    return {"value": value, "se": se, "n": len(loss)}
