"""From a checkpoint and gradients to score files and mask files, a few rows in memory at a time."""

import functools
import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from wagle.attribution import masks, topk
from wagle.errors import WagleError
from wagle.model import tensors
from wagle.runtime.threads import PIECE, workers


def _inputs(
    checkpoint, names: list[str], needs: tuple[str, ...], inputs: dict[str, str], seed: int
) -> Iterator[tuple[str, list]]:
    """(name, [weight, *what the score needs]) for each parameter in `names`."""
    generator = torch.Generator().manual_seed(seed)
    streams = {need: tensors.stream(inputs[need], names) for need in needs if need != "draw"}
    for name, weight in tensors.stream(checkpoint, names):
        yield (
            name,
            [weight, *(generator if need == "draw" else next(streams[need])[1] for need in needs)],
        )


def _cut(args: list, rowwise: bool) -> list[list]:
    """The arguments of score(), whole, or a few rows of the weight and of everything that has its shape."""
    weight = args[0]
    if not rowwise or weight.numel() <= PIECE:
        return [args]
    rows = max(1, PIECE * len(weight) // weight.numel())
    split = [
        arg.split(rows) if getattr(arg, "shape", None) == weight.shape else None for arg in args
    ]
    return [
        [s[i] if s else arg for s, arg in zip(split, args, strict=True)]
        for i in range(len(split[0]))
    ]


def write_scores(
    path: str | Path,
    module: str,
    checkpoint: str | Path,
    inputs: dict[str, str],
    *,
    options: dict,
    seed: int,
) -> dict:
    """Write the scores of `module` for `checkpoint`, fp32, under the model's parameter names; returns {n, share_first_term}.

    `inputs` maps forget, retain and activations to their files as far as the module NEEDS them. `share_first_term`, for a
    module with `terms`, is the share of weights whose first term outweighs the second. A module that says ROWWISE is given a
    few rows at a time. Raises WagleError when the module does not fit or a score is not finite.
    """
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise WagleError(f"score module {module!r} cannot be imported: {error}") from None
    if not callable(getattr(found, "score", None)) or not hasattr(found, "NEEDS"):
        raise WagleError(
            f"{module} has no score() or no NEEDS", "the interface of docs/extending.md"
        )
    terms = getattr(found, "terms", None)
    count = {"n": 0, "first": 0}
    shapes = tensors.parameter_shapes(checkpoint)
    if "activations" in found.NEEDS:  # only linear layers have input features
        shapes = {name: shapes[name] for name in tensors.names(inputs["activations"], shapes)}

    def work(name: str, args: list) -> tuple[torch.Tensor, int]:
        args = [args[0].float(), *args[1:]]
        value = found.score(*args, **options)
        if value.shape != args[0].shape:
            raise WagleError(
                f"{module} gave shape {list(value.shape)} for {name}", f"{list(args[0].shape)}"
            )
        if not torch.isfinite(value).all():
            raise WagleError(
                f"the score of {name} has NaN or Inf",
                do="look at the gradients and options it was made from",
            )
        first = 0
        if terms:
            one, other = terms(*args, **options)
            first = int((one.abs() > other.abs()).sum())
        return value, first

    def values(results):
        for value, first in results:
            count["n"] += value.numel()
            count["first"] += first
            yield value

    with workers() as pool, tensors.Writer(path, shapes, torch.float32, {"module": module}) as file:
        for name, args in _inputs(checkpoint, list(shapes), found.NEEDS, inputs, seed):
            pieces = _cut(args, getattr(found, "ROWWISE", False))
            file.put(name, shapes[name], values(pool.map(functools.partial(work, name), pieces)))
    return {"n": count["n"], "share_first_term": count["first"] / count["n"] if terms else None}


def write_masks(
    paths: list, scores, checkpoint, ratios: list[float], select: str, origin: dict
) -> list[list[dict]]:
    """Write one mask of `scores` for each ratio, all from one stream; returns for each the rows {parameter, selected, size}.

    `select` is `global` (one ranking over all parameters, exactly k) or `rows` (per output row of the scored weights;
    every other parameter is selected whole, and the header's k is that true budget). `origin` goes into the headers.
    """
    shapes = tensors.parameter_shapes(checkpoint)
    sizes = {name: int(np.prod(shape, dtype=np.int64)) for name, shape in shapes.items()}
    if select == "global":
        ks = [topk.budget(ratio, sum(sizes.values())) for ratio in ratios]

        def stream():
            return tensors.stream(scores, shapes)

        chosen = topk.packed(stream, topk.thresholds(stream, ks))
    elif select == "rows":
        scored = set(tensors.names(scores, shapes))
        ks = [
            sum(
                shapes[n][0] * topk.budget(r, shapes[n][1]) if n in scored else sizes[n]
                for n in shapes
            )
            for r in ratios
        ]

        def rows():
            for name, shape in shapes.items():
                if name in scored:
                    yield name, topk.packed_rows(next(tensors.stream(scores, [name]))[1], ratios)
                else:
                    yield name, [masks.pack(torch.ones(shape, dtype=torch.bool))] * len(ratios)

        chosen = rows()
    else:
        raise WagleError(f"SELECT = {select!r}", "'global' or 'rows'")
    headers = [
        origin | {"ratio": repr(float(r)), "k": k, "ties": "flat-index"}
        for r, k in zip(ratios, ks, strict=True)
    ]
    counts = masks.save(paths, shapes, chosen, headers)
    return [
        [{"parameter": name, "selected": found[name], "size": sizes[name]} for name in shapes]
        for found in counts
    ]
