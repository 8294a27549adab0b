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


def save(path: str | Path, masks: Iterable[tuple[str, torch.Tensor]], header: dict) -> dict[str, tuple[int, int]]:
    """Write boolean `masks`, in the model's parameter order; returns {name: (selected, size)}.

    `header` gives selection, ratio, gamma, k (None where row-wise selection sets it), ties and the two hashes. Raises
    WagleError unless exactly k weights are selected.
    """
    from safetensors.torch import save_file

    packed, shapes, counts = {}, {}, {}
    for name, mask in masks:
        packed[name], shapes[name] = pack(mask), list(mask.shape)
        counts[name] = (int(mask.sum()), mask.numel())
    k = sum(selected for selected, _ in counts.values())
    if header.get("k") not in (None, k):
        raise WagleError(f"{k} weights selected", f"exactly {header['k']}", "report this defect")
    metadata = {key: "" if value is None else str(value) for key, value in header.items()}
    metadata |= {"shapes": json.dumps(shapes), "k": str(k), "n": str(sum(size for _, size in counts.values()))}
    save_file(packed, str(path), metadata=metadata)
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
    from safetensors import safe_open

    header, ones = read_header(path), 0
    with safe_open(str(path), framework="pt") as file:
        for name, shape in header["shapes"].items():
            mask = unpack(file.get_tensor(name), shape)
            ones += int(mask.sum())
            yield name, mask
    if ones != header["k"]:
        raise WagleError(f"{path} has {ones} weights selected", f"{header['k']}, as its header says")
