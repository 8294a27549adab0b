"""Exact selection against a stable sort: ties, shards, signs, extremes, many ratios at once.

Scores without an order are refused.
"""

import hashlib
import itertools
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wagle.attribution import masks, topk
from wagle.errors import WagleError
from wagle.runtime.threads import workers

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def oracle(scores: torch.Tensor, k: int) -> torch.Tensor:
    """Mask of the k largest absolute values, ties to the lower index, by one stable sort."""
    order = np.argsort(-scores.float().abs().numpy(), kind="stable")
    mask = np.zeros(len(order), bool)
    mask[order[:k]] = True
    return torch.from_numpy(mask)


def shards(scores: torch.Tensor, cuts: list[int], other=None):
    """A stream of pieces of `scores`; every second one as dtype `other`, where one is given."""
    edges = sorted({0, len(scores), *[c % (len(scores) + 1) for c in cuts]})
    pieces = [scores[a:b] for a, b in itertools.pairwise(edges)]
    return lambda: (
        (f"t{i}", piece.to(other) if other and i % 2 else piece) for i, piece in enumerate(pieces)
    )


def select(stream, limits) -> list[torch.Tensor]:
    """The whole masks, one for each threshold; their counts are checked."""
    pieces = [[] for _ in limits]
    sizes = {name: tensor.numel() for name, tensor in stream()}
    for name, packed in topk.packed(stream, limits):
        for mask, piece in zip(pieces, packed, strict=True):
            mask.append(masks.unpack(torch.from_numpy(piece.bits.copy()), [sizes[name]]))
            assert int(mask[-1].sum()) == piece.selected
    return [torch.cat(mask) for mask in pieces]


@st.composite
def cases(draw):
    """(scores of a few distinct values, ks, cuts): ties everywhere, all equal among them."""
    n = draw(st.integers(1, 200))
    pool = draw(
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=6)
    )
    dtype = draw(st.sampled_from(DTYPES))
    values = torch.tensor(
        draw(st.lists(st.sampled_from(pool), min_size=n, max_size=n)), dtype=torch.float64
    )
    limit = torch.finfo(dtype).max
    ks = draw(
        st.lists(
            st.sampled_from([0, 1, n // 2, n - 1, n]) | st.integers(0, n), min_size=1, max_size=10
        )
    )
    return values.clamp(-limit, limit).to(dtype), ks, draw(st.lists(st.integers(0, n), max_size=4))


@settings(max_examples=1000, deadline=None)
@given(cases())
def test_selection_equals_stable_sort(case):
    scores, ks, cuts = case
    stream = shards(scores, cuts)
    for k, mask in zip(ks, select(stream, topk.thresholds(stream, ks)), strict=True):
        assert torch.equal(mask, oracle(scores, k))


@pytest.mark.parametrize("change", ["chunks of 8", "gpu path"])
@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=100, deadline=None)
@given(case=cases())
def test_chunks_and_the_gpu_path_change_nothing(change, dtype, case):
    scores, ks, cuts = case
    scores = scores.clamp(-60000, 60000).to(dtype)
    stream = shards(scores, cuts)
    with pytest.MonkeyPatch.context() as patch:
        if change == "gpu path":  # its kernels are plain torch and run on a CPU as well
            patch.setattr(masks, "on_gpu", lambda array: isinstance(array, torch.Tensor))
            patch.setattr(topk, "on_gpu", lambda array: True)
            patch.setattr(topk, "GPU_PIECE", 16)
        patch.setattr(topk, "PIECE", 8)
        selected = select(stream, topk.thresholds(stream, ks))
    for k, mask in zip(ks, selected, strict=True):
        assert torch.equal(mask, oracle(scores, k))


@settings(max_examples=100, deadline=None)
@given(cases())
def test_shards_of_different_dtypes_rank_together(case):
    scores, ks, cuts = case
    stream = shards(scores.clamp(-60000, 60000).float(), cuts, torch.bfloat16)
    whole = torch.cat([piece.float() for _, piece in stream()])
    for k, mask in zip(ks, select(stream, topk.thresholds(stream, ks)), strict=True):
        assert torch.equal(mask, oracle(whole, k))


@pytest.mark.parametrize("dtype", DTYPES)
def test_continuous_scores_of_several_chunks(dtype):
    scores = torch.randn(3 * topk.PIECE + 77, generator=torch.Generator().manual_seed(2)).to(dtype)
    stream, ks = shards(scores, [1001, topk.PIECE]), [1, 1000, len(scores) // 3, len(scores) - 1]
    for k, mask in zip(ks, select(stream, topk.thresholds(stream, ks)), strict=True):
        assert torch.equal(mask, oracle(scores, k))


def test_masks_of_one_score_are_nested():
    scores = torch.randint(-3, 4, (500,), generator=torch.Generator().manual_seed(0)).float()
    stream = shards(scores, [100, 333])
    result = select(stream, topk.thresholds(stream, [50, 200, 450]))
    assert (result[0] <= result[1]).all() and (result[1] <= result[2]).all()


# Of the masks at five ratios, as the first version of this module wrote them one at a time.
GOLDEN = {
    (torch.float32, False): "ce15804b4cf594819e7938fb1ccadf49a062a2feca21ee1f9ab2416479ef190f",
    (torch.float32, True): "90468486a510244c7919a1217a1db4edf91e09bbeecdab49e61180115eb7fbec",
    (torch.bfloat16, False): "8edb444fa3de03f421506293dd5125ca48f85c22edefc73eec112db9beb16ce9",
    (torch.bfloat16, True): "34187ddb80a8d4cc87ce1c6bd9279a6317cae3bce4fff1eba00d74395b48c30d",
    (torch.float16, False): "472490d076bc2ec41ede53359bf1914a30efbe11f87b6e66c4531f2f70f84ded",
    (torch.float16, True): "ad3cb4d483a70f3b915e3fcea6b330e162c871c9d5e6f1960f05ef3c7b494fe0",
}


def test_the_bytes_of_masks_are_those_of_the_first_version():
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": [37, 50], "b": [513], "c": [3, 5, 7], "d": [0], "e": [200, 300]}
    for (dtype, heavy), expected in GOLDEN.items():

        def draw(shape, heavy=heavy):
            if heavy:
                return torch.randint(-4, 5, shape, generator=generator).float() / 4
            return torch.rand(shape, generator=generator) * 2 - 1

        scores = {name: draw(shape).to(dtype) for name, shape in shapes.items()}
        n = sum(x.numel() for x in scores.values())
        limits = topk.thresholds(
            scores.items, [topk.budget(ratio, n) for ratio in (0.0, 0.1, 0.5, 0.95, 1.0)]
        )
        tensors = [packed for _, packed in topk.packed(scores.items, limits)]
        digest = hashlib.sha256(
            b"".join(packed[i].bits.tobytes() for i in range(len(limits)) for packed in tensors)
        )
        assert digest.hexdigest() == expected, (dtype, heavy)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_without_order_are_refused_by_name(bad, dtype):
    def stream():
        return iter(
            [("good", torch.ones(3)), ("model.bad.weight", torch.tensor([1.0, bad], dtype=dtype))]
        )

    with pytest.raises(WagleError, match=r"model\.bad\.weight"):
        topk.thresholds(stream, [1])


def test_k_outside_is_refused():
    with pytest.raises(WagleError, match="between 0 and"):
        topk.thresholds(shards(torch.ones(3), []), [4])


def test_torch_keeps_its_threads():
    torch.set_num_threads(2)
    try:
        topk.thresholds(shards(torch.ones(3), []), [1])
        assert torch.get_num_threads() == 2
        with pytest.raises(WagleError):
            topk.thresholds(shards(torch.ones(3), []), [4])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("ratio", "n", "k"),
    [(0.5, 5, 2), (0.5, 7, 4), (0.35, 10, 4), (0.45, 10, 4), (0.8, 134515008, 107612006)],
)
def test_budget_rounds_half_to_even_in_decimal(ratio, n, k):
    assert topk.budget(ratio, n) == k


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan")])
def test_budget_refuses_what_is_no_share(ratio):
    with pytest.raises(WagleError):
        topk.budget(ratio, 10)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 30),
    st.sampled_from(DTYPES),
    st.integers(0, 99),
    st.booleans(),
)
def test_rows_take_their_own_top_with_ties_to_the_left(height, width, dtype, seed, heavy):
    generator = torch.Generator().manual_seed(seed)
    score = torch.randn((height, width), generator=generator)
    score = (score.round() if heavy else score).to(dtype)
    ratios = [0.0, 0.3, 0.5, 1.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topk, "PIECE", 8 * width)  # blocks of eight rows
        packed = topk.packed_rows(score, ratios)
    for ratio, packed_mask in zip(ratios, packed, strict=True):
        mask = masks.unpack(torch.from_numpy(packed_mask.bits), [height, width])
        expected = torch.stack([oracle(row, topk.budget(ratio, width)) for row in score])
        assert torch.equal(mask, expected) and packed_mask.selected == int(expected.sum())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_rows_without_order_are_refused(bad):
    with pytest.raises(WagleError, match="NaN or Inf"):
        topk.packed_rows(torch.tensor([[1.0, bad], [0.0, 1.0]]), [0.5])


def test_a_pool_keeps_the_order_and_runs_only_a_little_ahead():
    begun = []
    with workers() as pool:
        results = pool.map(lambda i: begun.append(i) or i * i, range(1000))
        assert next(results) == 0
        time.sleep(0.05)
        assert len(begun) <= 2 * pool.threads + 1
        assert list(results) == [i * i for i in range(1, 1000)]
