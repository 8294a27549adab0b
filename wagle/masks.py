"""The mask file: one bit a weight in safetensors, with what it was made from in the header.

Per parameter a uint8 tensor of ceil(n/8) bytes, bit j of byte i = flat index 8i + j (little-endian bit order), 1 = updated.
Header metadata, all strings: shapes (JSON, name -> list, in the model's parameter order), selection, ratio, gamma, k, n,
ties, scores_sha256, model_sha256.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from wagle import tensors
from wagle.errors import WagleError


def pack(mask: torch.Tensor) -> torch.Tensor:
    """(ceil(n/8),) uint8 from a boolean mask of n elements."""
    return torch.from_numpy(np.packbits(mask.reshape(-1).cpu().numpy(), bitorder="little"))


def unpack(packed: torch.Tensor, shape: list[int]) -> torch.Tensor:
    """Boolean mask of `shape`. Raises WagleError when the bytes are too few, too many, or set beyond the last weight."""
    n = int(np.prod(shape, dtype=np.int64))
    if packed.dtype != torch.uint8 or packed.numel() != (n + 7) // 8:
        raise WagleError(f"a mask of {packed.numel()} {packed.dtype} values for shape {shape}", f"{(n + 7) // 8} uint8")
    bits = np.unpackbits(packed.cpu().numpy(), bitorder="little")
    if bits[n:].any():
        raise WagleError(f"a mask for shape {shape} has bits set beyond its {n} weights")
    return torch.from_numpy(bits[:n].astype(bool)).reshape(shape)


def save(path: str | Path, shapes: dict, masks: Iterable[tuple[str, torch.Tensor]], header: dict) -> dict[str, int]:
    """Write boolean `masks`, one at a time, in the order of `shapes` (name -> shape); returns {name: selected}.

    `header` gives selection, ratio, gamma, k, ties and the two hashes. Raises WagleError unless exactly k are selected.
    """
    counts: dict[str, int] = {}

    def packed():
        for name, mask in masks:
            counts[name] = int(mask.sum())
            yield name, pack(mask)

    sizes = {name: [(int(np.prod(shape, dtype=np.int64)) + 7) // 8] for name, shape in shapes.items()}
    metadata = {key: "" if value is None else str(value) for key, value in header.items()}
    n = sum(int(np.prod(shape, dtype=np.int64)) for shape in shapes.values())
    metadata |= {"shapes": json.dumps({name: list(shape) for name, shape in shapes.items()}), "n": str(n)}
    tensors.write(path, sizes, torch.uint8, packed(), metadata)
    if sum(counts.values()) != header["k"]:
        raise WagleError(f"{sum(counts.values())} weights selected", f"exactly {header['k']}", "report this defect")
    return counts


def read_header(path: str | Path) -> dict:
    """The header's metadata, with shapes parsed and k and n as integers. Raises WagleError when it is not a mask."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            metadata, names = file.metadata() or {}, set(file.keys())
        shapes = json.loads(metadata["shapes"])
        header = metadata | {"shapes": shapes, "k": int(metadata["k"]), "n": int(metadata["n"])}
        sizes = {name: int(np.prod(shape, dtype=np.int64)) for name, shape in shapes.items()}
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise WagleError(f"{path} is not a mask file: {error!r}", do="make it again with the pipeline") from None
    if names != set(shapes) or sum(sizes.values()) != header["n"]:
        raise WagleError(f"{path}: header and tensors disagree", do="make it again with the pipeline")
    return header


def load(path: str | Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Boolean masks one parameter at a time, in the model's order. Raises WagleError unless they hold k ones in all."""
    header, ones = read_header(path), 0
    for name, packed in tensors.stream(path, header["shapes"]):
        mask = unpack(packed, header["shapes"][name])
        ones += int(mask.sum())
        yield name, mask
    if ones != header["k"]:
        raise WagleError(f"{path} has {ones} weights selected", f"{header['k']}, as its header says")
