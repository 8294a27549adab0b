"""Shares k among the tensors of a model, exactly: the arithmetic behind budgets over layers.

Each weight that a tensor could get has a rank, and the k lowest ranks are given out. Of equal ranks
the earlier tensor's goes first. So the shares add up to k, and a larger k lowers none.
Source: Balinski and Young, Fair Representation (1982), on house-monotone apportionment.

A rule sees each tensor's scores as a histogram of their upper 16 bits without the sign: the scores
cut to bf16. Within a tensor the full scores decide.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wagle.errors import WagleError

Counter = Callable[[float], np.ndarray]


@dataclass(frozen=True, eq=False)
class TensorScores:
    """What a budget rule knows of one tensor's scores.

    name, shape: the parameter's. counts: how many scores have each upper word, (32768,), int64.
    """

    name: str
    shape: tuple[int, ...]
    counts: np.ndarray

    @cached_property
    def size(self) -> int:
        """Number of weights."""
        return int(self.counts.sum())

    @cached_property
    def bins(self) -> np.ndarray:
        """Upper words that occur, the largest first."""
        return self.counts.nonzero()[0][::-1]

    @cached_property
    def numbers(self) -> np.ndarray:
        """How many scores have each of `bins`."""
        return self.counts[self.bins]

    @cached_property
    def values(self) -> np.ndarray:
        """The absolute score that each of `bins` stands for, fp64."""
        return (self.bins.astype(np.uint32) << 16).view(np.float32).astype(np.float64)

    @property
    def layer(self) -> int | None:
        """Number of the layer, or None outside the layers."""
        match = re.search(r"\.(\d+)\.", self.name)
        return int(match.group(1)) if match else None


def check_total(tensors: Sequence[TensorScores], k: int) -> None:
    """Raise WagleError when the tensors have fewer than `k` weights."""
    check_available(k, sum(tensor.size for tensor in tensors))


def check_available(k: int, available: int) -> None:
    """Raise WagleError when `k` weights are more than those that have a score."""
    if k > available:
        raise WagleError(
            f"{k} weights to select, but only {available} have a score", "a lower ratio"
        )


def lowest_ranks(at_most: Counter, k: int) -> np.ndarray:
    """How many of the `k` lowest ranks each tensor has.

    at_most: for a rank, how many of each tensor's ranks are at most that. Ranks are not negative;
    infinite ones come last. In all there must be at least k.
    """
    low, high = 0, int(np.float64(np.inf).view(np.int64))  # bits of a float order as the float
    while low < high:
        middle = (low + high) // 2
        if int(at_most(_as_float(middle)).sum()) >= k:
            high = middle
        else:
            low = middle + 1
    upto = at_most(_as_float(low))
    below = at_most(_as_float(low - 1)) if low else np.zeros_like(upto)
    left = k - int(below.sum())
    before = np.concatenate([[0], (upto - below).cumsum()[:-1]])
    return below + np.clip(left - before, 0, upto - below)


def _as_float(bits: int) -> float:
    return float(np.int64(bits).view(np.float64))


def apportion(tensors: Sequence[TensorScores], weights: Sequence[float], k: int) -> np.ndarray:
    """`k` shared in proportion to `weights`, no tensor above its size: shape (tensors,).

    The divisor method of Webster: a tensor's j-th weight has rank (j - 1/2) / its weight. So the
    shares are those of `scale * weight`, cut at the size and rounded, with one scale for all.

    Raises WagleError when the tensors have fewer than k weights, or a weight is negative.
    """
    check_total(tensors, k)
    shares = np.asarray(weights, np.float64)
    if not (np.isfinite(shares) & (shares >= 0)).all():
        raise WagleError("a tensor's share of a budget is negative or not finite", "at least 0")
    sizes = np.array([tensor.size for tensor in tensors], np.int64)

    def at_most(rank: float) -> np.ndarray:
        if rank == np.inf:
            return sizes
        with np.errstate(over="ignore", divide="ignore"):
            number = np.minimum(np.floor(rank * shares + 0.5), sizes)
            number += (number < sizes) & ((number + 0.5) / shares <= rank)
            number -= (number > 0) & ((number - 0.5) / shares > rank)
        return number.astype(np.int64)

    return lowest_ranks(at_most, k)
