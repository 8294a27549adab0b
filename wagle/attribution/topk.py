"""Exact top-k of |score| over all tensors of a model, for many k at once, without a sort.

The scores are neither in memory together nor sorted. The absolute value of a finite float32 orders
like its bits read as an integer, of which the upper and the lower 16 are a word each.

1. One pass counts the upper words, which tells in which word each k-th largest value lies.
2. A second pass counts the lower words inside those few, which gives each threshold.
3. A third pass packs the masks of all k at one bit per weight.

Of equal scores the lower flat index wins, where flat indices run over the tensors in stream order.

Notable: memory is the histograms and a few chunks that fit the cache (wagle/runtime/threads.py).
bf16 is its own upper word and needs no second pass. Tensors on a GPU are counted and packed there.

Left out: big-endian machines. fp16 and fp64 are converted to fp32 first.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch

from wagle.attribution.masks import Packed, on_gpu, pack
from wagle.errors import WagleError
from wagle.runtime.threads import GPU_PIECE, PIECE, Pool, workers

Stream = Callable[[], Iterable[tuple[str, torch.Tensor]]]
WORDS = 1 << 15  # upper words without their sign
INFINITY_WORD = 0x7F80
NO_TIES = Packed(np.empty(0, np.uint8), 0)


class Threshold(NamedTuple):
    """The limit of a selection.

    Selected are all scores whose fp32 bits exceed `bits`, and the first `ties` scores, by flat
    index, that equal it.
    """

    bits: int
    ties: int


class Bin(NamedTuple):
    """The bin with the k-th largest of some counted values.

    inside: how many values of this bin are among the k largest.
    """

    index: int
    inside: int


class WordCounts(NamedTuple):
    """What a chunk adds to a histogram of lower words: `counts` at the flat indices `bins`."""

    bins: np.ndarray
    counts: np.ndarray | int


class PackedChunk(NamedTuple):
    """The masks of a chunk's scores above a threshold, and of those equal to it."""

    above: Packed
    ties: Packed


def budget(ratio: float, n: int) -> int:
    """k = ratio * n rounded half to even, in decimal arithmetic.

    Raises WagleError for a ratio outside [0, 1].
    """
    if not 0 <= ratio <= 1:
        raise WagleError(f"ratio {ratio!r}", "the fraction of weights to update, between 0 and 1")
    return int((Decimal(repr(float(ratio))) * n).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def thresholds(stream: Stream, ks: list[int], upper: np.ndarray | None = None) -> list[Threshold]:
    """The threshold of the k largest absolute scores, for each k in `ks`.

    stream: gives (name, scores), and the same tensors each time it is called.
    upper: the sum of upper_words() of all tensors, where it is known. It saves a pass.

    Raises WagleError for a NaN or infinite score (naming the tensor) and for a k outside 0..n.
    """
    with workers() as pool:
        all_bf16 = upper is None
        if upper is None:
            upper = np.zeros(WORDS, np.int64)
            for name, tensor in stream():
                all_bf16 &= tensor.dtype == torch.bfloat16
                upper += upper_words(name, tensor, pool)
        n = int(upper.sum())
        for k in ks:
            if not 0 <= k <= n:
                raise WagleError(f"k = {k}", f"between 0 and the number of scores, {n}")
        return _thresholds(stream, ks, upper, all_bf16, pool)


def _thresholds(
    stream: Stream, ks: list[int], upper: np.ndarray, all_bf16: bool, pool: Pool
) -> list[Threshold]:
    """The thresholds, where `upper` says how many scores have each upper word."""
    upper_bins = {k: _kth_largest(upper, k) for k in ks if k}
    words = sorted({upper_bin.index for upper_bin in upper_bins.values()})
    lower = np.zeros((len(words), 1 << 16), np.int64)
    if all_bf16:  # every lower word is 0
        lower[:, 0] = upper[words]
    elif words:
        for _, tensor in stream():
            for bins, counts in _map(pool, _count_lower_words, tensor, words):
                np.add.at(lower.reshape(-1), bins, counts)
    result = []
    for k in ks:
        if k == 0:
            result.append(Threshold(INFINITY_WORD << 16, 0))
            continue
        word, inside = upper_bins[k]
        lower_bin = _kth_largest(lower[words.index(word)], inside)
        result.append(Threshold((word << 16) + lower_bin.index, lower_bin.inside))
    return result


def _kth_largest(counts: np.ndarray, k: int) -> Bin:
    """The bin of the k-th largest value, where `counts` says how many values each bin has."""
    at_least = counts[::-1].cumsum()[::-1]
    index = int((at_least >= k).nonzero()[0][-1])
    return Bin(index, int(k - at_least[index] + counts[index]))


def upper_words(name: str, tensor: torch.Tensor, pool: Pool) -> np.ndarray:
    """How often each upper word occurs among the absolute scores of tensor `name`.

    Shape (WORDS,), int64. Raises WagleError for a NaN or infinite score.
    """
    counts = np.zeros(WORDS, np.int64)
    for chunk in _map(pool, _count_upper_words, tensor):
        counts += chunk
    if counts[INFINITY_WORD:].any():
        raise WagleError(
            f"score of {name} has NaN or Inf",
            "finite scores",
            "look at the gradients of this tensor",
        )
    return counts


def packed_tensors(
    stream: Stream, upper: dict[str, np.ndarray], ks: dict[str, list[int]]
) -> Iterator[tuple[str, list[Packed]]]:
    """(name, a mask for each of ks[name]) of each tensor: its own ks[name] largest are selected.

    upper: of each tensor, as upper_words() gives it. Of equal scores the lower index wins.
    """
    for name, tensor in stream():

        def one(name=name, tensor=tensor):
            yield name, tensor

        with workers() as pool:
            limits = _thresholds(one, ks[name], upper[name], tensor.dtype == torch.bfloat16, pool)
        yield from packed(one, limits)


def packed(stream: Stream, limits: list[Threshold]) -> Iterator[tuple[str, list[Packed]]]:
    """(name, one mask for each of `limits`), tensor by tensor in stream order.

    Over all tensors a mask has exactly the k ones that its threshold was made for.
    """
    remaining = [limit.ties for limit in limits]
    with workers() as pool:
        for name, tensor in stream():
            bits = np.empty((len(limits), -(-tensor.numel() // 8)), np.uint8)
            selected, start = [0] * len(limits), 0
            for chunks in _map(pool, _pack, tensor, limits):
                for i, chunk in enumerate(chunks):
                    mask = _add_ties(chunk, remaining[i])
                    bits[i, start : start + len(mask.bits)] = mask.bits
                    selected[i] += mask.selected
                    remaining[i] -= mask.selected - chunk.above.selected
                start += len(mask.bits)
            yield name, [Packed(*mask) for mask in zip(bits, selected, strict=True)]


def _add_ties(chunk: PackedChunk, number: int) -> Packed:
    """What is above the threshold, and the first `number` of the ties."""
    above, ties = chunk
    if not number or not ties.selected:
        return above
    if number < ties.selected:
        last = int(np.flatnonzero(np.unpackbits(ties.bits, bitorder="little"))[number - 1])
        bits = ties.bits.copy()
        bits[last // 8 + 1 :] = 0
        bits[last // 8] &= (2 << last % 8) - 1
        ties = Packed(bits, number)
    return Packed(above.bits | ties.bits, above.selected + ties.selected)


def packed_rows(score: torch.Tensor, ratios: list[float]) -> list[Packed]:
    """For each of `ratios` the mask of a score of shape (out, in), per output row.

    In every row the budget(ratio, in) largest of |score| are selected, ties to the lower index.

    Raises WagleError for a NaN or infinite score.
    """
    height, width = score.shape
    return packed_row_counts(score, [np.full(height, budget(ratio, width)) for ratio in ratios])


def packed_row_counts(score: torch.Tensor, counts: list[np.ndarray]) -> list[Packed]:
    """For each of `counts`, shape (out,), the mask of a score of shape (out, in).

    In row i the counts[i] largest of |score| are selected, ties to the lower index.

    Raises WagleError for a NaN or infinite score.
    """
    rows = max(8, PIECE // max(1, score.shape[1]) // 8 * 8)  # whole bytes for each block
    pieces = [
        (piece, [count[i * rows : (i + 1) * rows] for count in counts])
        for i, piece in enumerate(score.detach().cpu().split(rows))
    ]
    with workers() as pool:
        blocks = list(pool.map(lambda piece: _pack_rows(*piece), pieces))
    return [
        Packed(np.concatenate([b[i].bits for b in blocks]), sum(b[i].selected for b in blocks))
        for i in range(len(counts))
    ]


def _pack_rows(block: torch.Tensor, counts: list[np.ndarray]) -> list[Packed]:
    size = np.abs(block.float().numpy())
    if not np.isfinite(size).all():
        raise WagleError("a row-wise score has NaN or Inf", "finite scores")
    width = size.shape[1]
    ranks = sorted({width - int(k) for ks in counts for k in np.unique(ks) if k})
    ordered = np.partition(size, ranks, axis=1) if ranks else size
    result = []
    for ks in counts:
        k = ks[:, None]
        limit = np.take_along_axis(ordered, np.minimum(width - k, width - 1), axis=1)
        limit[k == 0] = np.inf
        mask = size > limit
        ties = size == limit
        left = k - np.count_nonzero(mask, axis=1, keepdims=True)
        surplus = np.flatnonzero(np.count_nonzero(ties, axis=1) > left[:, 0])
        ties[surplus] &= ties[surplus].cumsum(1) <= left[surplus]
        mask |= ties
        result.append(pack(mask))
    return result


def row_budgets(shapes: dict[str, list[int]], total: int) -> dict[str, np.ndarray]:
    """How many of `total` weights each row of matrices of `shapes` gets: name -> counts, (out,).

    The counts add up to `total`, and a larger total lowers none. They follow the rows' widths by
    the divisor method of Webster: a row's j-th weight has rank (j - 1/2) / width, and the `total`
    lowest ranks are given out, of equal ones those of the earlier rows.
    Source: Balinski and Young, Fair Representation (1982), on house-monotone apportionment.

    Raises WagleError when there are fewer than `total` weights.
    """
    heights = Counter()
    for height, width in shapes.values():
        heights[width] += height
    available = sum(height * width for width, height in heights.items())
    if total > available:
        raise WagleError(
            f"{total} weights to select, but the linear layers have {available}", "a lower ratio"
        )
    ranks = sorted((Fraction(2 * j - 1, 2 * w), w) for w in heights for j in range(1, w + 1))
    whole, extra, left = Counter(), set(), total
    for _, tied in itertools.groupby(ranks, key=lambda pair: pair[0]):
        widths = [width for _, width in tied]
        seats = sum(heights[width] for width in widths)
        if seats > left:
            extra = set(widths)
            break
        whole.update(widths)
        left -= seats
    counts = {}
    for name, (height, width) in shapes.items():
        more = min(left, height) if width in extra else 0
        counts[name] = whole[width] + (np.arange(height) < more)
        left -= more
    return counts


# --- one chunk at a time: on a CPU in numpy, on a GPU in torch ---


def _map(pool, function, tensor: torch.Tensor, *arguments) -> Iterable:
    """function(chunk, *arguments) of each of a tensor's chunks, in order."""
    flat = tensor.detach().reshape(-1)
    if not flat.numel():
        return []

    def work(chunk):
        return function(
            chunk if chunk.dtype in (torch.float32, torch.bfloat16) else chunk.float(), *arguments
        )

    return map(work, flat.split(GPU_PIECE)) if on_gpu(flat) else pool.map(work, flat.split(PIECE))


def _magnitude(chunk: torch.Tensor) -> torch.Tensor:
    """The bits of the absolute values as integers."""
    return chunk.float().view(torch.int32) & 0x7FFFFFFF


def _halves(chunk: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The chunk's upper words without sign, and its lower words."""
    words = chunk.view(torch.int16).numpy().view(np.uint16)
    if chunk.dtype == torch.bfloat16:
        return words & 0x7FFF, np.broadcast_to(np.uint16(0), words.shape)
    return words[1::2] & 0x7FFF, words[::2]


def _count_upper_words(chunk: torch.Tensor) -> np.ndarray:
    """How often each upper word occurs, shape (WORDS,)."""
    if on_gpu(chunk):
        return torch.bincount(_magnitude(chunk) >> 16, minlength=WORDS).cpu().numpy()
    words = chunk.view(torch.int16)
    words = words if chunk.dtype == torch.bfloat16 else words[1::2]
    return torch.bincount(words & 0x7FFF, minlength=WORDS).numpy()


def _count_lower_words(chunk: torch.Tensor, words: list[int]) -> WordCounts:
    """Counts of scores with an upper word in `words`; the bin of words[i] is i * 2^16 + lower."""
    slots = np.zeros(WORDS, np.int64)
    slots[words] = np.arange(len(words))
    if on_gpu(chunk):
        bits = _magnitude(chunk)
        bits = bits[torch.isin(bits >> 16, torch.tensor(words, device=chunk.device))]
        bins = torch.from_numpy(slots).to(chunk.device)[bits >> 16] << 16 | bits & 0xFFFF
        bins, counts = bins.unique(return_counts=True)
        return WordCounts(bins.cpu().numpy(), counts.cpu().numpy())
    upper, lower = _halves(chunk)
    inside = np.zeros(len(upper), bool)
    for word in words:
        inside |= upper == word
    index = inside.nonzero()[0]
    return WordCounts(slots[upper[index]] << 16 | lower[index], 1)


def _pack(chunk: torch.Tensor, limits: list[Threshold]) -> list[PackedChunk]:
    """The masks of `chunk` for each of `limits`."""
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
        # a bf16 value equals no finer threshold
        may_tie = limit.ties and limit.bits >> shift << shift == limit.bits
        ties = bits == limit.bits >> shift if may_tie else None
        result.append(PackedChunk(above, pack(ties) if may_tie and ties.any() else NO_TIES))
    return result
