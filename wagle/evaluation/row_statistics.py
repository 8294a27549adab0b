"""Values of metrics with their standard errors over rows: means, and a bootstrap for the others.

A result is {value, se, n} and, for a mean, `rows`. The bootstrap has a fixed seed. Left out: the
spread over seeds (wagle/evaluation/statistics.py).
"""

import math

import numpy as np

from wagle.errors import WagleError
from wagle.evaluation.metrics import finite


def mean_of_rows(values) -> dict:
    """{value, se, n, rows} of per-row values. Raises WagleError for none, or for NaN."""
    values = finite("per-row values", values)
    se = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    return {"value": float(values.mean()), "se": se, "n": len(values), "rows": values.tolist()}


def perplexity(losses, tokens) -> dict:
    """{value, se, n} of the perplexity per token over n texts: exp(summed loss / tokens).

    losses: summed loss of each text in nats, (n,). tokens: its tokens, (n,). The error is the delta
    method's, of a ratio of sums over texts.
    """
    losses, tokens = finite("summed losses", losses), finite("numbers of tokens", tokens)
    value, n = math.exp(losses.sum() / tokens.sum()), len(tokens)
    return {"value": value, "se": perplexity_error(value, losses, tokens), "n": n}


def perplexity_error(value: float, losses: np.ndarray, tokens: np.ndarray) -> float | None:
    """Standard error of the perplexity `value` over texts; None for one text."""
    n, spread = len(tokens), losses - tokens * losses.sum() / tokens.sum()
    if n < 2:
        return None
    return float(value * math.sqrt(n / (n - 1) * (spread**2).sum()) / tokens.sum())


def bootstrap(statistic, *samples, draws: int = 200) -> dict:
    """Value, bootstrap standard error over rows and n of a statistic.

    The seed is fixed, and each sample is resampled by itself.
    """
    rng = np.random.default_rng(0)
    samples = [np.asarray(sample) for sample in samples]
    values = [
        statistic(*(s[rng.integers(len(s), size=len(s))] for s in samples)) for _ in range(draws)
    ]
    return {
        "value": statistic(*samples),
        "se": float(np.std(values, ddof=1)),
        "n": sum(map(len, samples)),
    }


def bootstrap_together(
    statistics: dict, sizes: tuple[int, ...], draws: int = 200
) -> dict[str, float]:
    """Bootstrap standard errors of statistics of the same rows, and of their plain mean (key ""),
    all from the same draws.

    Each statistic maps one index array per sample to a number. Rows are drawn once for all, so what
    correlates stays so.
    """
    rng = np.random.default_rng(0)
    rounds = []
    for _ in range(draws):
        index = [rng.integers(size, size=size) for size in sizes]
        rounds.append([statistic(*index) for statistic in statistics.values()])
    values = np.array(rounds)
    return dict(
        zip([*statistics, ""], [*values.std(0, ddof=1), values.mean(1).std(ddof=1)], strict=True)
    )


def same_rows(name: str, *columns) -> list[np.ndarray]:
    """The columns as arrays. Raises WagleError unless they have equally many rows."""
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    if len({len(array) for array in arrays}) > 1:
        raise WagleError(
            f"{name}: metrics of {', '.join(str(len(a)) for a in arrays)} rows",
            "the same rows for each metric",
        )
    return arrays
