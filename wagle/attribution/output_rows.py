"""How a weight divides into output rows: what row-wise scores and masks work on.

A linear layer stores its weight as (out, in). transformers' Conv1D stores (in, out), and fused
experts store one matrix for each expert, in either order. Row-wise scores and masks see matrices
(out, in) all the same.

Notable: which weights are stored as (in, out) is known only from how a layer uses them. It is
measured with the activations (input_norms.py) and handed on in the files' metadata.
"""

import json
from pathlib import Path

import torch

from wagle.attribution import masks
from wagle.model import tensors

KEY = "transposed"  # metadata of activations and of row-wise scores


def metadata(transposed: set[str]) -> dict[str, str]:
    """The entry of a file's metadata that names the weights stored as (..., in, out)."""
    return {KEY: json.dumps(sorted(transposed))} if transposed else {}


def transposed_in(path: str | Path) -> set[str]:
    """The names in that entry of file `path`. Raises WagleError as tensors.metadata() does."""
    return set(json.loads(tensors.metadata(path).get(KEY, "[]")))


def matrices(weight: torch.Tensor, transposed: bool) -> list[torch.Tensor]:
    """Views (out, in) of `weight`: one, or one for each expert."""
    weight = weight.mT if transposed else weight
    return list(weight) if weight.ndim == 3 else [weight]


def row_shape(shape: list[int], transposed: bool) -> list[int]:
    """[rows, in] of a weight of `shape`, the rows of all its experts together."""
    *experts, height, width = shape
    out, features = (width, height) if transposed else (height, width)
    return [out * (experts[0] if experts else 1), features]


def as_rows(weight: torch.Tensor, transposed: bool) -> torch.Tensor:
    """`weight` as (rows, in), the rows of all its experts one after the other."""
    return (weight.mT if transposed else weight).reshape(row_shape(list(weight.shape), transposed))


def as_weight(rows: torch.Tensor, shape: list[int], transposed: bool) -> torch.Tensor:
    """The inverse of as_rows(): (rows, in) as a weight of `shape`."""
    if not transposed:
        return rows.reshape(shape)
    return rows.reshape([*shape[:-2], shape[-1], shape[-2]]).mT


def packed_as_weight(packed: masks.Packed, shape: list[int], transposed: bool) -> masks.Packed:
    """A packed mask (rows, in) as the packed mask of a weight of `shape`."""
    if not transposed:
        return packed  # the flat order is the same
    rows = masks.unpack(torch.from_numpy(packed.bits), row_shape(shape, transposed))
    return masks.pack(as_weight(rows, shape, transposed))
