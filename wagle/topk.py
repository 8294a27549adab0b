"""Exact top-k of |score| over all tensors of a model, for many k at once, without holding or sorting them.

The absolute value of a finite float32 orders like its bits read as an integer. So two passes of counting find, for each k,
the exact k-th largest value: one over the upper 16 bits, one over the lower 15 bits inside the bins that matter. A last pass
emits the selection; of equal scores the lower flat index wins, where flat indices run over the tensors in stream order.

Notable: memory beyond one tensor is the two histograms. Left out: scores below fp32 precision are widened, not ranked apart.
"""

from collections.abc import Callable, Iterable, Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

import torch

from wagle.errors import WagleError

Stream = Callable[[], Iterable[tuple[str, torch.Tensor]]]
LOW_BITS = 15
INFINITY_BITS = 0x7F800000
CHUNK = 1 << 22  # elements counted at a time


class Threshold(NamedTuple):
    """Selected are all scores whose bits exceed `bits`, and the first `ties` scores (by flat index) that equal it."""

    bits: int
    ties: int


def budget(ratio: float, n: int) -> int:
    """k = ratio * n rounded half to even, in decimal arithmetic. Raises WagleError outside [0, 1]."""
    if not 0 <= ratio <= 1:
        raise WagleError(f"ratio {ratio!r}", "the fraction of weights to update, between 0 and 1")
    return int((Decimal(repr(float(ratio))) * n).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def _bits(name: str, tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    flat = tensor.reshape(-1)
    for start in range(0, flat.numel(), CHUNK):
        bits = flat[start : start + CHUNK].to(torch.float32).abs().view(torch.int32)
        if bits.numel() and int(bits.max()) >= INFINITY_BITS:
            raise WagleError(f"score of {name} has NaN or Inf", "finite scores", "look at the gradients of this tensor")
        yield bits


def thresholds(stream: Stream, ks: list[int]) -> list[Threshold]:
    """One threshold per k in `ks`. `stream()` must give the same tensors each time it is called.

    Raises WagleError for a NaN or infinite score (naming the tensor) and for a k outside 0..n.
    """
    high = torch.zeros(1 << 16, dtype=torch.int64)
    for name, tensor in stream():
        for bits in _bits(name, tensor):
            high += torch.bincount(bits >> LOW_BITS, minlength=1 << 16).cpu()
    n = int(high.sum())
    for k in ks:
        if not 0 <= k <= n:
            raise WagleError(f"k = {k}", f"between 0 and the number of scores, {n}")
    at_least = high.flip(0).cumsum(0).flip(0)  # at_least[b]: scores in bin b or above
    bins = {k: int((at_least >= k).nonzero()[-1]) for k in ks if k}
    low = {b: torch.zeros(1 << LOW_BITS, dtype=torch.int64) for b in set(bins.values())}
    if low:
        for name, tensor in stream():
            for bits in _bits(name, tensor):
                upper = bits >> LOW_BITS
                for b, histogram in low.items():
                    inside = bits[upper == b] & ((1 << LOW_BITS) - 1)
                    if inside.numel():
                        histogram += torch.bincount(inside, minlength=1 << LOW_BITS).cpu()
    result = []
    for k in ks:
        if k == 0:
            result.append(Threshold(INFINITY_BITS, 0))
            continue
        b = bins[k]
        above = int(at_least[b + 1]) if b + 1 < len(at_least) else 0
        inside = low[b].flip(0).cumsum(0).flip(0)
        j = int((inside >= k - above).nonzero()[-1])
        greater = above + (int(inside[j + 1]) if j + 1 < len(inside) else 0)
        result.append(Threshold((b << LOW_BITS) + j, k - greater))
    return result


def select(stream: Stream, threshold: Threshold) -> Iterator[tuple[str, torch.Tensor]]:
    """Boolean masks, tensor by tensor, in stream order, with exactly the k ones that `threshold` was made for."""
    left = threshold.ties
    for name, tensor in stream():
        parts = []
        for bits in _bits(name, tensor):
            mask = bits > threshold.bits
            if left:
                equal = bits == threshold.bits
                rank = equal.cumsum(0)
                mask |= equal & (rank <= left)
                left -= min(left, int(rank[-1]))
            parts.append(mask)
        flat = torch.cat(parts) if parts else torch.zeros(0, dtype=torch.bool)
        yield name, flat.reshape(tensor.shape)


def select_rows(score: torch.Tensor, ratio: float) -> torch.Tensor:
    """Mask (out, in) with the top budget(ratio, in) of |score| in every row, ties by lower index."""
    if not torch.isfinite(score).all():
        raise WagleError("a row-wise score has NaN or Inf", "finite scores")
    k = budget(ratio, score.shape[1])
    order = torch.sort(score.abs(), dim=1, descending=True, stable=True).indices[:, :k]
    return torch.zeros(score.shape, dtype=torch.bool).scatter_(1, order, True)
