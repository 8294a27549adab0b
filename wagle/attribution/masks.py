"""The mask file: one bit per weight in safetensors, with what it was made from in the header.

Each parameter has a uint8 tensor of ceil(n/8) bytes. Bit j of byte i is the weight with flat index
8i + j (little-endian bit order), and 1 means that it is updated. Header metadata, all strings:
shapes (JSON, name -> list, in the model's parameter order), selection, ratio, gamma, k, n, ties,
scores_sha256, model_sha256.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from wagle.errors import WagleError
from wagle.model import tensors


class Packed(NamedTuple):
    """The mask of a tensor of n weights.

    bits: shape (ceil(n/8),), uint8. selected: how many of its bits are set.
    """

    bits: np.ndarray
    selected: int


def on_gpu(array) -> bool:
    """Whether `array` is a tensor on a GPU."""
    return isinstance(array, torch.Tensor) and array.is_cuda


def pack(mask: torch.Tensor | np.ndarray) -> Packed:
    """A boolean mask of any shape as bytes. A mask on a GPU is packed there."""
    if on_gpu(mask):
        octets = torch.nn.functional.pad(mask.reshape(-1), (0, -mask.numel() % 8)).view(-1, 8)
        positions = torch.arange(8, dtype=torch.uint8, device=mask.device)
        bits = (octets << positions).sum(1, dtype=torch.uint8)
        return Packed(bits.cpu().numpy(), int(mask.count_nonzero()))
    flat = np.asarray(mask).reshape(-1)
    return Packed(np.packbits(flat, bitorder="little"), int(np.count_nonzero(flat)))


def unpack(packed: torch.Tensor, shape: list[int]) -> torch.Tensor:
    """The boolean mask of `shape` in the bytes `packed`.

    Raises WagleError when there are too few or too many, or a bit is set beyond the last weight.
    """
    n = int(np.prod(shape, dtype=np.int64))
    if packed.dtype != torch.uint8 or packed.numel() != (n + 7) // 8:
        raise WagleError(
            f"a mask of {packed.numel()} {packed.dtype} values for shape {shape}",
            f"{(n + 7) // 8} uint8",
        )
    bits = np.unpackbits(packed.cpu().numpy(), bitorder="little")
    if bits[n:].any():
        raise WagleError(f"a mask for shape {shape} has bits set beyond its {n} weights")
    return torch.from_numpy(bits[:n].astype(bool)).reshape(shape)


def save(
    paths: list[str | Path],
    shapes: dict[str, list[int]],
    packed: Iterable[tuple[str, list[Packed]]],
    headers: list[dict],
) -> list[dict[str, int]]:
    """Write one mask file for each of `paths`, all in one pass over `packed`.

    shapes: name -> shape of every parameter.
    packed: for each parameter, in the order of `shapes`, its mask for each of `paths`.
    headers: for each of `paths` selection, ratio, gamma, k, ties and the two hashes.

    Returns {name: number of selected weights} for each file.

    Raises WagleError unless exactly k weights are selected in each.
    """
    sizes = {name: int(np.prod(shape, dtype=np.int64)) for name, shape in shapes.items()}
    common = {
        "shapes": json.dumps({name: list(shape) for name, shape in shapes.items()}),
        "n": str(sum(sizes.values())),
    }
    counts: list[dict[str, int]] = [{} for _ in paths]
    with contextlib.ExitStack() as stack:
        files = []
        for path, header in zip(paths, headers, strict=True):
            metadata = {
                key: "" if value is None else str(value) for key, value in header.items()
            } | common
            layout = {name: [(size + 7) // 8] for name, size in sizes.items()}
            files.append(stack.enter_context(tensors.Writer(path, layout, torch.uint8, metadata)))
        for name, masks in packed:
            for file, count, mask in zip(files, counts, masks, strict=True):
                file.put(name, [len(mask.bits)], [torch.from_numpy(mask.bits)])
                count[name] = mask.selected
    for count, header in zip(counts, headers, strict=True):
        if sum(count.values()) != header["k"]:
            raise WagleError(
                f"{sum(count.values())} weights selected",
                f"exactly {header['k']}",
                "report this defect",
            )
    return counts


def read_header(path: str | Path) -> dict:
    """The metadata of a mask file's header, with shapes parsed and k and n as integers.

    Raises WagleError when it is not a mask file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            metadata, names = file.metadata() or {}, set(file.keys())
        shapes = json.loads(metadata["shapes"])
        header = metadata | {"shapes": shapes, "k": int(metadata["k"]), "n": int(metadata["n"])}
        sizes = {name: tensors.elements(shape) for name, shape in shapes.items()}
    except (
        OSError,
        SafetensorError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise WagleError(
            f"{path} is not a mask file: {error!r}", do="make it again with the pipeline"
        ) from None
    if names != set(shapes) or sum(sizes.values()) != header["n"]:
        raise WagleError(
            f"{path}: header and tensors disagree", do="make it again with the pipeline"
        )
    return header


def load(path: str | Path) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, boolean mask) of each parameter, in the model's order.

    Raises WagleError when it is not a mask file, or its masks do not have k ones in all.
    """
    header, ones = read_header(path), 0
    for name, packed in tensors.stream(path, header["shapes"]):
        mask = unpack(packed, header["shapes"][name])
        ones += int(mask.sum())
        yield name, mask
    if ones != header["k"]:
        raise WagleError(
            f"{path} has {ones} weights selected", f"{header['k']}, as its header says"
        )
