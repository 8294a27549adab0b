"""Row-wise masks of an exact total: rows' shares, nesting, nothing outside linear layers."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wagle.attribution import masks, topk
from wagle.attribution.attribution import write_masks
from wagle.errors import WagleError
from wagle.model import tensors

SHAPES = st.lists(st.tuples(st.integers(1, 7), st.integers(1, 9)), min_size=1, max_size=5)


def named(shapes):
    return {f"t{i}": list(shape) for i, shape in enumerate(shapes)}


@settings(max_examples=100, deadline=None)
@given(SHAPES, st.integers(0, 10_000))
def test_budgets_add_up_and_no_row_loses_when_the_total_grows(shapes, total):
    shapes = named(shapes)
    available = sum(height * width for height, width in shapes.values())
    total %= available + 1
    found = topk.row_budgets(shapes, total)
    assert sum(int(counts.sum()) for counts in found.values()) == total
    for name, (height, width) in shapes.items():
        assert found[name].shape == (height,) and (found[name] <= width).all()
        assert found[name].max() - found[name].min() <= 1
        assert (np.diff(found[name]) <= 0).all()  # of equal rows the earlier ones come first
    if total < available:
        more = topk.row_budgets(shapes, total + 1)
        assert all((more[name] >= found[name]).all() for name in shapes)


def test_budgets_of_one_width_are_equal_and_others_follow_their_widths():
    found = topk.row_budgets({"a": [4, 10], "b": [2, 20]}, 40)
    assert found["a"].tolist() == [5] * 4 and found["b"].tolist() == [10] * 2
    with pytest.raises(WagleError, match="81 weights to select, but the linear layers have 80"):
        topk.row_budgets({"a": [4, 10], "b": [2, 20]}, 81)


@settings(max_examples=25, deadline=None)
@given(SHAPES, st.integers(1, 30), st.integers(0, 99), st.booleans())
def test_masks_are_exact_nested_and_inside_linear_layers(
    tmp_path_factory, shapes, outside, seed, ties
):
    folder, generator = tmp_path_factory.mktemp("rows"), torch.Generator().manual_seed(seed)
    linear = named(shapes)
    shapes = {"embed": [outside, 1], **linear, "norm": [3]}
    scores = {name: torch.rand(shape, generator=generator) for name, shape in linear.items()}
    if ties:
        scores = {name: (score * 3).floor() for name, score in scores.items()}
    tensors.write(folder / "scores.safetensors", linear, torch.float32, scores.items())
    weights = {name: torch.zeros(shape) for name, shape in shapes.items()}
    n, inside = (sum(int(np.prod(shape)) for shape in group.values()) for group in (shapes, linear))
    ratios = [ratio for ratio in (0.1, 0.25, 0.5, 0.75) if topk.budget(ratio, n) <= inside]
    if not ratios:
        return
    paths = [folder / f"mask{i}.safetensors" for i in range(len(ratios))]
    origin = dict.fromkeys(("selection", "gamma", "scores_sha256", "model_sha256"), "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensors, "parameter_shapes", lambda _: shapes)
        write_masks(paths, folder / "scores.safetensors", weights, ratios, "rows-matched", origin)
    found = [dict(masks.load(path)) for path in paths]
    for ratio, mask, path in zip(ratios, found, paths, strict=True):
        assert sum(int(part.sum()) for part in mask.values()) == topk.budget(ratio, n)
        assert masks.read_header(path)["k"] == topk.budget(ratio, n)
        assert not mask["embed"].any() and not mask["norm"].any()
        for name, score in scores.items():
            for row, kept in zip(score, mask[name], strict=True):
                order = np.argsort(-row.numpy(), kind="stable")[: int(kept.sum())]
                assert set(order) == set(kept.nonzero()[:, 0].tolist())
    for smaller, larger in itertools.pairwise(found):
        assert all((larger[name] | ~smaller[name]).all() for name in shapes)
