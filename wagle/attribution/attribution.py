"""From a checkpoint and gradients to score files and mask files.

Scores are computed for a few rows of a weight at a time, masks for a chunk at a time, so no second
copy of the model is in memory. Row-wise scores and masks see each weight as matrices (out, in),
however it is stored (output_rows.py).
"""

import functools
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch

from wagle.attribution import masks, output_rows, topk
from wagle.errors import WagleError
from wagle.model import tensors
from wagle.runtime.threads import PIECE, workers


class ScoredPiece(NamedTuple):
    """Scores of a piece of a weight, and how many have a first term larger than the second."""

    scores: torch.Tensor
    first_term_larger: int


def _load_score(module: str) -> ModuleType:
    """The score module. Raises WagleError when it cannot be imported or lacks its interface."""
    try:
        plugin = importlib.import_module(module)
    except ImportError as error:
        raise WagleError(f"score module {module!r} cannot be imported: {error}") from None
    if not callable(getattr(plugin, "score", None)) or not hasattr(plugin, "NEEDS"):
        raise WagleError(
            f"{module} has no score() or no NEEDS", "the interface of docs/extending.md"
        )
    return plugin


def _arguments(
    checkpoint, names: list[str], needs: tuple[str, ...], inputs: dict[str, str], seed: int
) -> Iterator[tuple[str, list]]:
    """(name, arguments of score()) of each parameter in `names`: the weight and what it NEEDS.

    The need `draw` is a random generator, one for the whole model.
    """
    generator = torch.Generator().manual_seed(seed)
    streams = {need: tensors.stream(inputs[need], names) for need in needs if need != "draw"}
    for name, weight in tensors.stream(checkpoint, names):
        needed = [generator if need == "draw" else next(streams[need])[1] for need in needs]
        yield name, [weight, *needed]


def _matrices(arguments: list, transposed: bool) -> list[list]:
    """The arguments of score(), for one matrix (out, in) of the weight at a time.

    Input norms of fused experts are (experts, in), and go with their experts' matrices.
    """
    weight = arguments[0]
    count = len(weight) if weight.ndim == 3 else 1
    columns = []
    for argument in arguments:
        if getattr(argument, "shape", None) == weight.shape:
            columns.append(output_rows.matrices(argument, transposed))
        elif isinstance(argument, torch.Tensor) and weight.ndim == 3:
            columns.append(list(argument))
        else:
            columns.append([argument] * count)
    return [list(row) for row in zip(*columns, strict=True)]


def _split_rows(arguments: list, rowwise: bool) -> list[list]:
    """The arguments of score(), for a few rows of the weight at a time if `rowwise`.

    Arguments with the weight's shape are split with it; the others go to every piece.
    """
    weight = arguments[0]
    if not rowwise or weight.numel() <= PIECE:
        return [arguments]
    rows = max(1, PIECE * len(weight) // weight.numel())
    columns = [
        argument.split(rows) if getattr(argument, "shape", None) == weight.shape else None
        for argument in arguments
    ]
    return [
        [
            column[i] if column else argument
            for column, argument in zip(columns, arguments, strict=True)
        ]
        for i in range(len(columns[0]))
    ]


def _score_piece(plugin: ModuleType, options: dict, name: str, arguments: list) -> ScoredPiece:
    """Scores of one piece of parameter `name`. Raises WagleError where they do not fit it."""
    arguments = [arguments[0].float(), *arguments[1:]]
    scores = plugin.score(*arguments, **options)
    if scores.shape != arguments[0].shape:
        raise WagleError(
            f"{plugin.__name__} gave shape {list(scores.shape)} for {name}",
            f"{list(arguments[0].shape)}",
        )
    if not torch.isfinite(scores).all():
        raise WagleError(
            f"the score of {name} has NaN or Inf",
            do="look at the gradients and options it was made from",
        )
    first_term_larger = 0
    if getattr(plugin, "terms", None):
        first, second = plugin.terms(*arguments, **options)
        first_term_larger = int((first.abs() > second.abs()).sum())
    return ScoredPiece(scores, first_term_larger)


def write_scores(
    path: str | Path,
    module: str,
    checkpoint: str | Path,
    inputs: dict[str, str],
    *,
    options: dict,
    seed: int,
) -> dict:
    """Write the scores of `checkpoint`'s weights, fp32, under the model's parameter names.

    module: a score module (docs/extending.md). One with ROWWISE gets a few rows at a time.
    inputs: files of forget, retain and activations, as far as the module NEEDS them.
    options: keyword arguments of its score(). seed: of the random generator `draw`.

    Returns {n, share_first_term, coverage, unranked}: the number of scores; for a module with
    `terms` the share of weights whose first term outweighs the second (else None); the share of the
    model's weights that have a score; and the parameters of two or more sides without one.

    Raises WagleError when the module does not fit or a score is not finite.
    """
    plugin = _load_score(module)
    score_count = first_term_count = 0
    model_shapes = shapes = tensors.parameter_shapes(checkpoint)
    by_matrix, transposed = "activations" in plugin.NEEDS, set()
    if by_matrix:  # only weights that are multiplied with have input features
        shapes = {name: shapes[name] for name in tensors.names(inputs["activations"], shapes)}
        transposed = output_rows.transposed_in(inputs["activations"])

    def count(pieces: Iterator[ScoredPiece]) -> Iterator[torch.Tensor]:
        nonlocal score_count, first_term_count
        for piece in pieces:
            score_count += piece.scores.numel()
            first_term_count += piece.first_term_larger
            yield piece.scores

    def score(name: str, arguments: list) -> Iterator[torch.Tensor]:
        """The scores of one parameter in flat order, one matrix after the other."""
        score_piece = functools.partial(_score_piece, plugin, options, name)
        for matrix in _matrices(arguments, name in transposed) if by_matrix else [arguments]:
            pieces = _split_rows(matrix, getattr(plugin, "ROWWISE", False))
            scores = count(pool.map(score_piece, pieces))
            yield from [torch.cat(list(scores)).mT] if name in transposed else scores

    metadata = {"module": module} | output_rows.metadata(transposed)
    with workers() as pool, tensors.Writer(path, shapes, torch.float32, metadata) as file:
        for name, arguments in _arguments(checkpoint, list(shapes), plugin.NEEDS, inputs, seed):
            file.put(name, shapes[name], score(name, arguments))
    share = first_term_count / score_count if getattr(plugin, "terms", None) else None
    return {
        "n": score_count,
        "share_first_term": share,
        "coverage": score_count / sum(map(tensors.elements, model_shapes.values())),
        "unranked": [n for n, shape in model_shapes.items() if n not in shapes and len(shape) > 1],
    }


def write_masks(
    paths: list[str | Path],
    scores: str | Path,
    checkpoint: str | Path,
    ratios: list[float],
    select: str,
    origin: dict,
) -> list[list[dict]]:
    """Write one mask of the score file `scores` for each of `ratios`, all from one pass.

    paths: where the masks go, one for each ratio (the share of weights to update).
    select: `global` is one ranking over all parameters, with exactly k weights selected. `rows` is
        a ranking per output row of each scored weight; every other parameter is selected whole, and
        the header's k counts all of them. `rows-matched` is the same ranking with exactly k weights
        selected: every other parameter is frozen whole, and rows share k by their widths.
    origin: further entries of the masks' headers.

    Returns for each mask the rows {parameter, selected, size}.

    Raises WagleError for another `select`, and as topk's functions and masks.save() do.
    """
    shapes = tensors.parameter_shapes(checkpoint)
    sizes = {name: int(np.prod(shape, dtype=np.int64)) for name, shape in shapes.items()}
    if select == "global":
        ks = [topk.budget(ratio, sum(sizes.values())) for ratio in ratios]

        def stream():
            return tensors.stream(scores, shapes)

        packed_masks = topk.packed(stream, topk.thresholds(stream, ks))
    elif select == "rows-matched":
        ks = [topk.budget(ratio, sum(sizes.values())) for ratio in ratios]
        packed_masks = _matched_row_masks(_RowScores.of(scores, shapes), shapes, ks)
    elif select == "rows":
        rows = _RowScores.of(scores, shapes)
        free = sum(size for name, size in sizes.items() if name not in rows.shapes)
        ks = [
            free + sum(count * topk.budget(ratio, width) for count, width in rows.shapes.values())
            for ratio in ratios
        ]
        packed_masks = _row_masks(rows, shapes, ratios)
    else:
        raise WagleError(f"SELECT = {select!r}", "'global', 'rows' or 'rows-matched'")
    headers = [
        origin | {"ratio": repr(float(ratio)), "k": k, "ties": "flat-index"}
        for ratio, k in zip(ratios, ks, strict=True)
    ]
    counts = masks.save(paths, shapes, packed_masks, headers)
    return [
        [{"parameter": name, "selected": count[name], "size": sizes[name]} for name in shapes]
        for count in counts
    ]


class _RowScores(NamedTuple):
    """A file of row-wise scores.

    shapes: name -> [rows, in] of each scored parameter. transposed: those stored as (..., in, out).
    """

    path: str | Path
    shapes: dict[str, list[int]]
    transposed: set[str]

    @classmethod
    def of(cls, path: str | Path, shapes: dict[str, list[int]]) -> "_RowScores":
        transposed = output_rows.transposed_in(path)
        rows = {
            name: output_rows.row_shape(shapes[name], name in transposed)
            for name in tensors.names(path, shapes)
        }
        return cls(path, rows, transposed)

    def read(self, name: str) -> torch.Tensor:
        """Scores of parameter `name`, (rows, in)."""
        _, score = next(tensors.stream(self.path, [name]))
        return output_rows.as_rows(score, name in self.transposed)

    def as_weights(self, name: str, packed: list, shape: list[int]) -> list[masks.Packed]:
        """Masks of the rows of parameter `name` as masks of the parameter."""
        turned = name in self.transposed
        return [output_rows.packed_as_weight(mask, shape, turned) for mask in packed]


def _row_masks(
    rows: _RowScores, shapes: dict[str, list[int]], ratios: list[float]
) -> Iterator[tuple[str, list[masks.Packed]]]:
    """(name, a mask for each ratio) of each parameter, per output row where it is scored."""
    for name, shape in shapes.items():
        if name in rows.shapes:
            packed = topk.packed_rows(rows.read(name), ratios)
            yield name, rows.as_weights(name, packed, shape)
        else:
            yield name, [masks.pack(torch.ones(shape, dtype=torch.bool))] * len(ratios)


def _matched_row_masks(
    rows: _RowScores, shapes: dict[str, list[int]], ks: list[int]
) -> Iterator[tuple[str, list[masks.Packed]]]:
    """(name, a mask for each of `ks`) of each parameter; what is not scored is frozen."""
    budgets = [topk.row_budgets(rows.shapes, k) for k in ks]
    for name, shape in shapes.items():
        if name in rows.shapes:
            counts = [budget[name] for budget in budgets]
            packed = topk.packed_row_counts(rows.read(name), counts)
            yield name, rows.as_weights(name, packed, shape)
        else:
            yield name, [masks.pack(torch.zeros(shape, dtype=torch.bool))] * len(ks)
