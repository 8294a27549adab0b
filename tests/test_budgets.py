"""Budget rules against a stable sort: exact totals, ties, nesting, no empty tensor. Costs 6 s."""

import importlib
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wagle.attribution import masks, topk
from wagle.attribution.apportionment import TensorScores, apportion
from wagle.attribution.attribution import write_masks
from wagle.attribution.budgeting import BudgetRule, budgeted, profiles, with_frozen
from wagle.errors import WagleError
from wagle.model import tensors

RULES = ("uniform", "rows", "erk", "lamp", "owl", "mass")
NESTED = ("uniform", "rows", "erk", "lamp", "mass")
RATIOS = [0.1, 0.35, 0.6, 0.95]


def rule(name, **options):
    return BudgetRule(f"wagle.budgets.{name}", options)


def cut(scores):
    """Absolute scores as rules see them: their upper 16 bits, fp64."""
    bits = scores.float().contiguous().view(torch.int32) & 0x7FFF0000
    return bits.view(torch.float32).double().numpy().reshape(-1)


def select(scores, ratios, budget):
    """The flat masks of every tensor, one dictionary a ratio, and their sizes."""
    shapes = {name: list(score.shape) for name, score in scores.items()}
    n = sum(score.numel() for score in scores.values())
    result = budgeted(scores.items, shapes, ratios, n, budget)
    selected = [{} for _ in ratios]
    for name, packed in result.packed:
        for mask, part in zip(selected, packed, strict=True):
            mask[name] = masks.unpack(torch.from_numpy(part.bits.copy()), shapes[name])
    return selected, result.ks


@st.composite
def models(draw):
    """Scores of a few tensors in layers; heavy ties where the pool of values is small."""
    shapes = draw(
        st.lists(
            st.tuples(st.integers(1, 6), st.integers(1, 7)) | st.tuples(st.integers(1, 9)),
            min_size=1,
            max_size=6,
        )
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    kind = draw(st.sampled_from(["continuous", "ties", "zeros", "bf16"]))
    result = {}
    for i, shape in enumerate(shapes):
        score = torch.randn(shape, generator=generator) * 10.0 ** draw(st.integers(-4, 4))
        if kind == "ties":
            score = torch.randint(-2, 3, shape, generator=generator).float()
        if kind == "zeros":
            score = score * (torch.rand(shape, generator=generator) < 0.3)
        name = f"layers.{i // 2}.w{i}" if draw(st.booleans()) else f"w{i}"
        result[name] = score.bfloat16() if kind == "bf16" else score
    return result


def lamp_oracle(scores, k):
    """Counts by one stable sort of all LAMP scores of the cut scores, the definition itself."""
    ranks, owner = [], []
    for i, score in enumerate(scores.values()):
        squares = np.sort(cut(score))[::-1] ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = squares.cumsum() / squares
        inverse[np.isnan(inverse)] = np.inf  # zeros
        inverse[:1] = 1.0
        ranks += inverse.tolist()
        owner += [i] * len(inverse)
    order = np.lexsort((owner, np.array(ranks).round(9)))
    return np.bincount(np.array(owner)[order[:k]], minlength=len(scores))


@settings(max_examples=150, deadline=None)
@given(models(), st.sampled_from(RULES))
def test_totals_ties_and_nesting(scores, name):
    selected, ks = select(scores, RATIOS, rule(name))
    n = sum(score.numel() for score in scores.values())
    if name != "mass":
        assert ks == [topk.budget(ratio, n) for ratio in RATIOS]
    for mask, k in zip(selected, ks, strict=True):
        assert sum(int(own.sum()) for own in mask.values()) == k
        for key, score in scores.items():
            rows = score.dim() > 1 and name == "rows"
            for values, own in zip(
                score if rows else [score.reshape(-1)],
                mask[key] if rows else [mask[key].reshape(-1)],
                strict=True,
            ):
                order = np.argsort(-values.float().abs().numpy(), kind="stable")
                assert set(order[: int(own.sum())]) == set(own.nonzero()[:, 0].tolist())
    if name in NESTED:
        for smaller, larger in itertools.pairwise(selected):
            assert all((larger[key] | ~smaller[key]).all() for key in scores)


@settings(max_examples=150, deadline=None)
@given(models(), st.data())
def test_lamp_is_the_sort_of_its_definition(scores, data):
    shapes = {name: list(score.shape) for name, score in scores.items()}
    parts = profiles(scores.items, shapes)
    k = data.draw(st.integers(0, sum(part.size for part in parts)))
    counts = importlib.import_module("wagle.budgets.lamp").counts(parts, k)
    assert counts.tolist() == lamp_oracle(scores, k).tolist()
    if k >= len(parts):
        assert (counts > 0).all()  # the promise: no tensor is empty


@settings(max_examples=100, deadline=None)
@given(models(), st.floats(0, 1))
def test_mass_is_the_smallest_number_that_holds_its_share(scores, share):
    parts = profiles(scores.items, {name: list(score.shape) for name, score in scores.items()})
    k = importlib.import_module("wagle.budgets.mass").total(parts, share)
    ordered = np.sort(np.concatenate([cut(score) for score in scores.values()]))[::-1]
    sums = np.concatenate([[0.0], ordered.cumsum()])
    slack = 1e-9 * sums[-1]
    assert sums[k] >= share * sums[-1] - slack
    assert k == 0 or sums[k - 1] < share * sums[-1] + slack


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.floats(0, 10)), min_size=1, max_size=7),
    st.integers(0, 10**6),
)
def test_apportionment_gives_out_the_lowest_ranks(tensors_and_weights, k):
    sizes, weights = zip(*tensors_and_weights, strict=True)
    parts = [TensorScores(f"w{i}", (n,), np.array([n])) for i, n in enumerate(sizes)]
    k %= sum(sizes) + 1
    ranks = []
    for i, (size, weight) in enumerate(tensors_and_weights):
        ranks += [((j - 0.5) / weight if weight else np.inf, i) for j in range(1, size + 1)]
    expected = np.bincount([i for _, i in sorted(ranks)[:k]], minlength=len(sizes))
    assert apportion(parts, weights, k).tolist() == expected.tolist()


def parts_of(shapes, counts=None):
    return [
        TensorScores(name, shape, np.array([int(np.prod(shape))]) if counts is None else counts[i])
        for i, (name, shape) in enumerate(shapes.items())
    ]


def test_erk_by_hand():
    """Sides 4+4, 8+8 and 2+2: in proportion while none is full; a full one stays full."""
    parts = parts_of({"a": (4, 4), "b": (8, 8), "c": (2, 2)})
    erk = importlib.import_module("wagle.budgets.erk")
    assert erk.counts(parts, 21).tolist() == [6, 12, 3]
    assert erk.counts(parts, 7).tolist() == [2, 4, 1]
    assert erk.counts(parts, 54).tolist() == [16, 34, 4]


def test_owl_by_hand():
    """Layer 1 has one outlier in 8, layer 0 none: half the spread each way around the ratio."""
    shapes = {"e": (10,), "layers.0.w": (1000,), "layers.1.w": (1000,)}
    values = {"e": [1.0] * 10, "layers.0.w": [1.0] * 1000, "layers.1.w": [1.0] * 999 + [900.0]}
    scores = {name: torch.tensor(value) for name, value in values.items()}
    parts = profiles(scores.items, shapes)
    owl = importlib.import_module("wagle.budgets.owl")
    counts = owl.counts(parts, 1005, spread=0.08)
    assert counts.tolist() == [5, 420, 580]
    assert owl.counts(parts, 1005, outlier=1e6).tolist() == [5, 500, 500]  # no outlier at all


def test_uniform_selects_the_same_share_everywhere():
    counts = importlib.import_module("wagle.budgets.uniform").counts(
        parts_of({"a": (100,), "b": (10, 20), "c": (1000,)}), 390
    )
    assert counts.tolist() == [30, 60, 300]


def test_rows_of_a_row_wise_score_are_those_of_matched(tmp_path):
    """The budget `rows` on a score of linear layers freezes the rest, as `matched` does."""
    generator = torch.Generator().manual_seed(0)
    linear = {"q": [6, 8], "v": [4, 10]}
    shapes = {"embed": [5, 3], **linear, "norm": [4]}
    tensors.write(
        tmp_path / "scores",
        linear,
        torch.float32,
        ((name, torch.randn(shape, generator=generator)) for name, shape in linear.items()),
    )
    origin = dict.fromkeys(("selection", "gamma", "scores_sha256", "model_sha256"), "")
    files = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensors, "parameter_shapes", lambda _: shapes)
        for select_rows, budget in (("rows-matched", None), ("rows", rule("rows"))):
            write_masks(
                [tmp_path / "m"], tmp_path / "scores", "", [0.5], select_rows, origin, budget
            )
            files.append((tmp_path / "m").read_bytes())
        assert files[0] == files[1]
        write_masks([tmp_path / "m"], tmp_path / "scores", "", [0.5], "global", origin)
        saved = dict(masks.load(tmp_path / "m"))
        assert not saved["embed"].any() and not saved["norm"].any()
        for name in RULES[:-1]:
            with pytest.raises(WagleError, match="a lower ratio"):
                budget = rule(name)
                write_masks([tmp_path / "m"], tmp_path / "scores", "", [0.99], "", origin, budget)


def test_frozen_parameters_keep_the_models_order():
    ones = [masks.pack(torch.ones(2, dtype=torch.bool))]
    merged = with_frozen(iter([("b", ones), ("d", ones)]), {key: [2] for key in "abcde"}, 1)
    assert [(name, packed[0].selected) for name, packed in merged] == [
        ("a", 0), ("b", 2), ("c", 0), ("d", 2), ("e", 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def counts(tensors, k):\n    return [0 for t in tensors]\n", "shares 0 weights"),
        ("def counts(tensors, k):\n    return [k] + [0] * (len(tensors) - 1)\n", "there are fewer"),
        ("def share(tensors, k):\n    return []\n", "has 0 of the functions"),
    ],
)
def test_a_rule_that_does_not_add_up_is_named(tmp_path, monkeypatch, code, message):
    (tmp_path / "odd_rule.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(importlib.sys.modules, "odd_rule", raising=False)
    with pytest.raises(WagleError, match=message):
        select({"a": torch.ones(3), "b": torch.ones(9)}, [0.5], BudgetRule("odd_rule", {}))


def test_scores_without_order_are_refused_by_name():
    with pytest.raises(WagleError, match="bad has NaN"):
        select({"bad": torch.tensor([1.0, float("nan")])}, [0.5], rule("uniform"))
