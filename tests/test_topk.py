"""Exact selection against a stable sort: ties, shards, signs, extremes; refusal of what has no order."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wagle import topk
from wagle.errors import WagleError


def oracle(scores: torch.Tensor, k: int) -> torch.Tensor:
    """Mask of the k largest absolute values, ties to the lower index, by a stable sort of the whole vector."""
    order = np.argsort(-scores.float().abs().numpy(), kind="stable")
    mask = np.zeros(len(order), bool)
    mask[order[:k]] = True
    return torch.from_numpy(mask)


def shards(scores: torch.Tensor, cuts: list[int]):
    edges = sorted({0, len(scores), *[c % (len(scores) + 1) for c in cuts]})
    return lambda: ((f"t{i}", scores[a:b]) for i, (a, b) in enumerate(itertools.pairwise(edges)))


@settings(max_examples=1000, deadline=None)
@given(st.data())
def test_selection_equals_stable_sort(data):
    n = data.draw(st.integers(1, 200))
    pool = data.draw(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=6))
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
    values = torch.tensor(data.draw(st.lists(st.sampled_from(pool), min_size=n, max_size=n)), dtype=torch.float64)
    limit = torch.finfo(dtype).max
    scores = values.clamp(-limit, limit).to(dtype)
    ks = data.draw(st.lists(st.sampled_from([0, 1, n // 2, n - 1, n]) | st.integers(0, n), min_size=1, max_size=4))
    stream = shards(scores, data.draw(st.lists(st.integers(0, n), max_size=4)))
    for k, threshold in zip(ks, topk.thresholds(stream, ks), strict=True):
        mask = torch.cat([part for _, part in topk.select(stream, threshold)])
        assert torch.equal(mask, oracle(scores, k))


def test_masks_of_one_score_are_nested():
    scores = torch.randint(-3, 4, (500,), generator=torch.Generator().manual_seed(0)).float()
    stream = shards(scores, [100, 333])
    found = topk.thresholds(stream, [50, 200, 450])
    masks = [torch.cat([m for _, m in topk.select(stream, t)]) for t in found]
    assert (masks[0] <= masks[1]).all() and (masks[1] <= masks[2]).all()


def test_chunks_do_not_matter(monkeypatch):
    scores = torch.randint(0, 5, (1000,), generator=torch.Generator().manual_seed(1)).float()
    monkeypatch.setattr(topk, "CHUNK", 7)
    stream = shards(scores, [])
    [threshold] = topk.thresholds(stream, [321])
    assert torch.equal(next(topk.select(stream, threshold))[1], oracle(scores, 321))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_scores_without_order_are_refused_by_name(bad):
    def stream():
        return iter([("good", torch.ones(3)), ("model.bad.weight", torch.tensor([1.0, bad]))])

    with pytest.raises(WagleError, match=r"model\.bad\.weight"):
        topk.thresholds(stream, [1])


def test_k_outside_is_refused():
    with pytest.raises(WagleError, match="between 0 and"):
        topk.thresholds(shards(torch.ones(3), []), [4])


@pytest.mark.parametrize(
    ("ratio", "n", "k"), [(0.5, 5, 2), (0.5, 7, 4), (0.35, 10, 4), (0.45, 10, 4), (0.8, 134515008, 107612006)]
)
def test_budget_rounds_half_to_even_in_decimal(ratio, n, k):
    assert topk.budget(ratio, n) == k


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan")])
def test_budget_refuses_what_is_no_share(ratio):
    with pytest.raises(WagleError):
        topk.budget(ratio, 10)


def test_rows_take_their_own_top_with_ties_to_the_left():
    score = torch.tensor([[1.0, 2.0, 2.0, 0.0], [5.0, 5.0, 5.0, 5.0]])
    expected = torch.tensor([[False, True, True, False], [True, True, False, False]])
    assert torch.equal(topk.select_rows(score, 0.5), expected)
