"""Masks whose weights a budget rule shares among tensors or rows (wagle/budgets/, found by name).

A rule decides how many weights each tensor or row gets, or how many the whole model. The largest
|score| of each then are selected, ties to the lower index. What has no score is frozen, so the
total is exact. docs/budgets.md compares the rules.

Notable: one pass over the scores makes a histogram of each tensor, 256 KB. It serves the rule and
the thresholds alike. The rest streams, as for one ranking of all weights (topk.py).
"""

import importlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from wagle.attribution import masks, topk
from wagle.attribution.apportionment import TensorScores, check_total
from wagle.errors import WagleError
from wagle.experiment.plugins import BUDGET_FORMS
from wagle.runtime.threads import workers


class BudgetRule(NamedTuple):
    """A rule's module, and the keyword options of its function."""

    module: str
    options: dict


class Budgeted(NamedTuple):
    """The size of each mask, and (name, its masks) of each scored tensor, in stream order."""

    ks: list[int]
    packed: Iterator[tuple[str, list[masks.Packed]]]


def budgeted(
    stream: topk.Stream, shapes: dict[str, list[int]], ratios: list[float], n: int, rule: BudgetRule
) -> Budgeted:
    """The masks of `rule` for each of `ratios`.

    stream: (name, scores) of the scored tensors. shapes: theirs. n: weights of the whole model.

    Raises WagleError for a rule that does not fit or does not add up, for fewer scores than a mask
    selects, and for a NaN or infinite score.
    """
    function = _load(rule)
    form = function.__name__
    tensors = profiles(stream, shapes)
    ks = [topk.budget(ratio, n) for ratio in ratios]
    if form == "total":
        ks = [int(function(tensors, ratio, **rule.options)) for ratio in ratios]
    for k in ks:
        check_total(tensors, k)
    if form == "total":
        limits = topk.thresholds(stream, ks, sum(tensor.counts for tensor in tensors))
        return Budgeted(ks, topk.packed(stream, limits))
    shares = [_checked(function(tensors, k, **rule.options), tensors, k, rule) for k in ks]
    by_name = {t.name: [share[i] for share in shares] for i, t in enumerate(tensors)}
    if form == "row_counts":
        return Budgeted(ks, _packed_rows(stream, by_name))
    upper = {tensor.name: tensor.counts for tensor in tensors}
    integers = {name: [int(k) for k in own] for name, own in by_name.items()}
    return Budgeted(ks, topk.packed_tensors(stream, upper, integers))


def profiles(stream: topk.Stream, shapes: dict[str, list[int]]) -> list[TensorScores]:
    """The histogram of each tensor's scores. Raises WagleError for a NaN or infinite one."""
    result = []
    with workers() as pool:
        for name, tensor in stream():
            counts = topk.upper_words(name, tensor, pool)
            result.append(TensorScores(name, tuple(shapes[name]), counts))
    return result


def _load(rule: BudgetRule):
    """The rule's function. Raises WagleError when it cannot be imported or has not one form."""
    try:
        plugin = importlib.import_module(rule.module)
    except ImportError as error:
        raise WagleError(f"budget module {rule.module!r} cannot be imported: {error}") from None
    functions = [
        getattr(plugin, form) for form in BUDGET_FORMS if callable(getattr(plugin, form, None))
    ]
    if len(functions) != 1:
        raise WagleError(
            f"{rule.module} has {len(functions)} of the functions {', '.join(BUDGET_FORMS)}",
            "one of them (docs/extending.md)",
        )
    return functions[0]


def _checked(share, tensors: list[TensorScores], k: int, rule: BudgetRule) -> list[np.ndarray]:
    """A rule's counts, one array for each tensor; they are possible, and add up to `k`."""
    share = [np.asarray(own) for own in share]
    rows = [t.shape[0] if len(t.shape) > 1 else 1 for t in tensors]
    fits = len(share) == len(tensors) and all(
        (own >= 0).all() and (own <= tensor.size // (max(1, height) if own.ndim else 1)).all()
        for own, tensor, height in zip(share, tensors, rows, strict=False)
    )
    total = sum(int(own.sum()) for own in share)
    if not fits or total != k:
        raise WagleError(
            f"budget rule {rule.module} shares {total} weights"
            + ("" if fits else ", some where there are fewer"),
            f"exactly {k}, each tensor and row at most what it has",
        )
    return share


def _packed_rows(
    stream: topk.Stream, counts: dict[str, list[np.ndarray]]
) -> Iterator[tuple[str, list[masks.Packed]]]:
    for name, score in stream():
        height = len(score) if score.dim() > 1 else 1
        yield name, topk.packed_row_counts(score.reshape(height, -1), counts[name])


def with_frozen(
    packed: Iterator[tuple[str, list[masks.Packed]]], shapes: dict[str, list[int]], masks_each: int
) -> Iterator[tuple[str, list[masks.Packed]]]:
    """`packed` with empty masks for the parameters of `shapes` that it leaves out, in order."""
    following = next(packed, None)
    for name, shape in shapes.items():
        if following and following[0] == name:
            yield following
            following = next(packed, None)
        else:
            yield name, [masks.pack(torch.zeros(shape, dtype=torch.bool))] * masks_each
