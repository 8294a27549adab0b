"""Exact top-k of |score| over all tensors of a model, for many k at once, without holding or sorting them.

The absolute value of a finite float32 orders like its bits read as an integer. One pass counts the upper 16-bit words, which
tells in which word each k-th largest value lies; a second counts the lower words inside those few. A third packs the masks of
all k at one bit a weight. Of equal scores the lower flat index wins, where flat indices run over the tensors in stream order.

Notable: memory is the histograms and a few chunks that fit the cache (wagle/runtime/threads.py). bf16 is its own upper word and needs no
second pass. Tensors on a GPU are counted and packed there. Left out: fp16 and fp64 are turned into fp32 first; big-endian
machines.
"""

from collections.abc import Callable, Iterable, Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

import numpy as np
import torch

from wagle.attribution.masks import Packed, on_gpu, pack
from wagle.errors import WagleError
from wagle.runtime.threads import GPU_PIECE, PIECE, workers

Stream = Callable[[], Iterable[tuple[str, torch.Tensor]]]
WORDS = 1 << 15  # upper words without their sign
INFINITY_WORD = 0x7F80
NONE = Packed(np.empty(0, np.uint8), 0)


class Threshold(NamedTuple):
    """Selected are all scores whose fp32 bits exceed `bits`, and the first `ties` scores (by flat index) that equal it."""

    bits: int
    ties: int


def budget(ratio: float, n: int) -> int:
    """k = ratio * n rounded half to even, in decimal arithmetic. Raises WagleError outside [0, 1]."""
    if not 0 <= ratio <= 1:
        raise WagleError(f"ratio {ratio!r}", "the fraction of weights to update, between 0 and 1")
    return int((Decimal(repr(float(ratio))) * n).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def thresholds(stream: Stream, ks: list[int]) -> list[Threshold]:
    """One threshold per k in `ks`. `stream()` must give the same tensors each time it is called.

    Raises WagleError for a NaN or infinite score (naming the tensor) and for a k outside 0..n.
    """
    with workers() as pool:
        upper, exact = np.zeros(WORDS, np.int64), True
        for name, tensor in stream():
            exact &= tensor.dtype == torch.bfloat16
            for counts in _map(pool, _count, tensor):
                upper += counts
            if upper[INFINITY_WORD:].any():
                raise WagleError(
                    f"score of {name} has NaN or Inf",
                    "finite scores",
                    "look at the gradients of this tensor",
                )
        n = int(upper.sum())
        for k in ks:
            if not 0 <= k <= n:
                raise WagleError(f"k = {k}", f"between 0 and the number of scores, {n}")
        found = {k: _kth(upper, k) for k in ks if k}
        words = sorted({word for word, _ in found.values()})
        lower = np.zeros((len(words), 1 << 16), np.int64)
        if exact:  # every lower word is 0
            lower[:, 0] = upper[words]
        elif words:
            for _, tensor in stream():
                for index, counts in _map(pool, _refine, tensor, words):
                    np.add.at(lower.reshape(-1), index, counts)
    result = []
    for k in ks:
        word, left = found.get(k, (INFINITY_WORD, 0))
        low, ties = _kth(lower[words.index(word)], left) if k else (0, 0)
        result.append(Threshold((word << 16) + low, ties))
    return result


def _kth(counts: np.ndarray, k: int) -> tuple[int, int]:
    """The bin that holds the k-th largest of the counted values, and how many of that bin are among the k largest."""
    at_least = counts[::-1].cumsum()[::-1]
    bin = int((at_least >= k).nonzero()[0][-1])
    return bin, int(k - at_least[bin] + counts[bin])


def packed(stream: Stream, limits: list[Threshold]) -> Iterator[tuple[str, list[Packed]]]:
    """The masks of all `limits`, tensor by tensor in stream order, each with exactly the k ones its threshold was made for."""
    left = [limit.ties for limit in limits]
    with workers() as pool:
        for name, tensor in stream():
            bits = np.empty((len(limits), -(-tensor.numel() // 8)), np.uint8)
            selected, start = [0] * len(limits), 0
            for chunk in _map(pool, _pack, tensor, limits):
                for i, (above, ties) in enumerate(chunk):
                    part = _settle(above, ties, left[i])
                    bits[i, start : start + len(part.bits)] = part.bits
                    selected[i] += part.selected
                    left[i] -= part.selected - above.selected
                start += len(part.bits)
            yield name, [Packed(*mask) for mask in zip(bits, selected, strict=True)]


def _settle(above: Packed, ties: Packed, left: int) -> Packed:
    """What lies above the threshold, and the first `left` of the ties."""
    if not left or not ties.selected:
        return above
    if left < ties.selected:
        last = int(np.flatnonzero(np.unpackbits(ties.bits, bitorder="little"))[left - 1])
        bits = ties.bits.copy()
        bits[last // 8 + 1 :] = 0
        bits[last // 8] &= (2 << last % 8) - 1
        ties = Packed(bits, left)
    return Packed(above.bits | ties.bits, above.selected + ties.selected)


def packed_rows(score: torch.Tensor, ratios: list[float]) -> list[Packed]:
    """For each ratio the mask (out, in) with the top budget(ratio, in) of |score| in every row, ties to the lower index."""
    width = score.shape[1]
    ks = [budget(ratio, width) for ratio in ratios]
    rows = max(8, PIECE // max(1, width) // 8 * 8)  # whole bytes for each block
    with workers() as pool:
        blocks = list(
            pool.map(lambda block: _pack_rows(block, ks), score.detach().cpu().split(rows))
        )
    return [
        Packed(np.concatenate([b[i].bits for b in blocks]), sum(b[i].selected for b in blocks))
        for i in range(len(ks))
    ]


def _pack_rows(block: torch.Tensor, ks: list[int]) -> list[Packed]:
    size = np.abs(block.float().numpy())
    if not np.isfinite(size).all():
        raise WagleError("a row-wise score has NaN or Inf", "finite scores")
    width = size.shape[1]
    wanted = sorted({width - k for k in ks if k})
    ordered = np.partition(size, wanted, axis=1) if wanted else size
    result = []
    for k in ks:
        mask = np.zeros(size.shape, bool)
        if k:
            limit = ordered[:, [width - k]]
            mask = size > limit
            ties = size == limit
            mask |= ties & (ties.cumsum(1) <= k - mask.sum(1, keepdims=True))
        result.append(pack(mask))
    return result


# --- one chunk at a time: on a CPU in numpy, on a GPU in torch ---


def _map(pool, function, tensor: torch.Tensor, *arguments) -> Iterable:
    """function(chunk, *arguments) of a tensor's chunks, in order."""
    flat = tensor.detach().reshape(-1)
    if not flat.numel():
        return []

    def work(chunk):
        return function(
            chunk if chunk.dtype in (torch.float32, torch.bfloat16) else chunk.float(), *arguments
        )

    return map(work, flat.split(GPU_PIECE)) if on_gpu(flat) else pool.map(work, flat.split(PIECE))


def _magnitude(chunk: torch.Tensor) -> torch.Tensor:
    return chunk.float().view(torch.int32) & 0x7FFFFFFF


def _halves(chunk: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Upper words without sign, and lower words."""
    words = chunk.view(torch.int16).numpy().view(np.uint16)
    if chunk.dtype == torch.bfloat16:
        return words & 0x7FFF, np.broadcast_to(np.uint16(0), words.shape)
    return words[1::2] & 0x7FFF, words[::2]


def _count(chunk: torch.Tensor) -> np.ndarray:
    """(WORDS,) how often each upper word occurs."""
    if on_gpu(chunk):
        return torch.bincount(_magnitude(chunk) >> 16, minlength=WORDS).cpu().numpy()
    words = chunk.view(torch.int16)
    words = words if chunk.dtype == torch.bfloat16 else words[1::2]
    return torch.bincount(words & 0x7FFF, minlength=WORDS).numpy()


def _refine(chunk: torch.Tensor, words: list[int]) -> tuple[np.ndarray, np.ndarray | int]:
    """Of the scores whose upper word is words[i]: bins i * 2^16 + lower word, and what to add to each."""
    slots = np.zeros(WORDS, np.int64)
    slots[words] = np.arange(len(words))
    if on_gpu(chunk):
        bits = _magnitude(chunk)
        bits = bits[torch.isin(bits >> 16, torch.tensor(words, device=chunk.device))]
        bins = torch.from_numpy(slots).to(chunk.device)[bits >> 16] << 16 | bits & 0xFFFF
        index, counts = bins.unique(return_counts=True)
        return index.cpu().numpy(), counts.cpu().numpy()
    upper, lower = _halves(chunk)
    inside = np.zeros(len(upper), bool)
    for word in words:
        inside |= upper == word
    index = inside.nonzero()[0]
    return slots[upper[index]] << 16 | lower[index], 1


def _pack(chunk: torch.Tensor, limits: list[Threshold]) -> list[tuple[Packed, Packed]]:
    """For each threshold what lies above it, and what equals it."""
    shift = 0
    if on_gpu(chunk):
        bits = _magnitude(chunk)
    elif chunk.dtype == torch.bfloat16:
        bits, shift = _halves(chunk)[0], 16
    else:
        bits = chunk.view(torch.int32).numpy() & 0x7FFFFFFF
    result = []
    for limit in limits:
        above = pack(bits > limit.bits >> shift)
        tied = (
            limit.ties and limit.bits >> shift << shift == limit.bits
        )  # a bf16 value equals no finer threshold
        ties = bits == limit.bits >> shift if tied else None
        result.append((above, pack(ties) if tied and ties.any() else NONE))
    return result
