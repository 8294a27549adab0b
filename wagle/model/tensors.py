"""Tensors by name in safetensors files: a deterministic streaming writer, and streams over checkpoints.

Notable: the library's own `save_file` writes several metadata keys in an order that differs from run to run, and wants all
tensors in memory; this writer sorts the header and takes tensors one at a time. Files are plain safetensors either way.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from wagle.errors import WagleError

ORDER = "parameters.json"  # beside the weights of each checkpoint that this project writes: name -> shape, in model order
_NAMES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.uint8: "U8",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
}


def elements(shape) -> int:
    """Number of elements of `shape`. Raises WagleError unless it is a list of whole numbers whose product fits 2**48."""
    if not isinstance(shape, list) or not all(
        type(side) is int and 0 <= side < 2**48 for side in shape
    ):
        raise WagleError(f"{str(shape)[:100]} is no shape", "a list of whole numbers")
    if len(shape) > 8 or math.prod(shape) >= 2**48:
        raise WagleError(
            f"shape {str(shape)[:100]} is too large", "at most 8 sides and 2**48 elements"
        )
    return math.prod(shape)


class Writer:
    """A safetensors file, written tensor by tensor in the order of `shapes` (name -> shape), all as `dtype`.

    Raises WagleError when a tensor comes out of turn, has another shape or size, or (on leaving the `with` block) is missing.
    """

    def __init__(
        self,
        path: str | Path,
        shapes: Mapping[str, list[int]],
        dtype,
        metadata: Mapping[str, str] | None = None,
    ):
        self.dtype, self.expected = dtype, iter(shapes.items())
        width, offset, header = dtype.itemsize, 0, {}
        if metadata:
            header["__metadata__"] = dict(sorted(metadata.items()))
        for name, shape in shapes.items():
            size = int(np.prod(shape, dtype=np.int64)) * width
            header[name] = {
                "dtype": _NAMES[dtype],
                "shape": list(shape),
                "data_offsets": [offset, offset + size],
            }
            offset += size
        body = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        body += b" " * (-len(body) % 8)
        self.file = open(path, "wb")  # noqa: SIM115 - closed by __exit__
        self.file.write(len(body).to_bytes(8, "little") + body)

    def put(self, name: str, shape: list[int], pieces: Iterable[torch.Tensor]) -> None:
        """The next tensor, as one or several pieces in flat order."""
        wanted = next(self.expected, (None, None))
        if (name, list(shape)) != (wanted[0], list(wanted[1] or [])):
            raise WagleError(
                f"tensor {name} {list(shape)}", f"{wanted[0]} {wanted[1]}", "report this defect"
            )
        left = int(np.prod(shape, dtype=np.int64))
        for piece in pieces:
            flat = piece.detach().to(self.dtype).cpu().contiguous().reshape(-1)
            left -= flat.numel()
            if flat.numel():
                self.file.write(memoryview(flat.view(torch.uint8).numpy()))
        if left:
            raise WagleError(
                f"tensor {name} differs from its shape by {left} values", do="report this defect"
            )

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind, *_) -> None:
        self.file.close()
        missing = next(self.expected, None)
        if missing and kind is None:
            raise WagleError(f"tensor {missing[0]} was not written", do="report this defect")


def write(path: str | Path, shapes: Mapping[str, list[int]], dtype, tensors: Iterable[tuple[str, torch.Tensor]],
          metadata: Mapping[str, str] | None = None) -> None:  # fmt: skip
    """Write `tensors`, which must come with the names, order and shapes of `shapes`. Raises WagleError as Writer does."""
    with Writer(path, shapes, dtype, metadata) as file:
        for name, tensor in tensors:
            file.put(name, list(tensor.shape), [tensor])


def _shards(path: Path) -> list[Path]:
    shards = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not shards:
        raise WagleError(
            f"no .safetensors file in {path}",
            "a checkpoint saved as safetensors (pickles are not read)",
        )
    return shards


def stream(path: str | Path, names: Iterable[str]) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) for each of `names`, from a file or from all shards of a checkpoint folder, one tensor in memory."""
    from safetensors import SafetensorError, safe_open

    try:
        files = [safe_open(str(shard), framework="pt") for shard in _shards(Path(path))]
        where = {name: file for file in files for name in file.keys()}  # noqa: SIM118 - not a dict
        for name in names:
            if name not in where:
                raise WagleError(
                    f"{path} has no tensor {name}", do="check that it belongs to this model"
                )
            yield name, where[name].get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise WagleError(
            f"{path} cannot be read: {error}", "safetensors", "delete it; its job then runs again"
        ) from None


def names(path: str | Path, order: Iterable[str]) -> list[str]:
    """The names in file `path`, in the given order. Raises WagleError when the file has a name that `order` lacks."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            found = set(file.keys())
    except (OSError, SafetensorError) as error:
        raise WagleError(f"{path} cannot be read: {error}", "safetensors") from None
    order = list(order)
    if found - set(order):
        raise WagleError(
            f"{path} has {min(found - set(order))}, which the model has not",
            "tensors of this model",
        )
    return [name for name in order if name in found]


def parameter_shapes(checkpoint: str | Path) -> dict[str, list[int]]:
    """Name -> shape of the parameters of a checkpoint written by this project, in the model's own order, tied ones once."""
    path = Path(checkpoint) / ORDER
    try:
        shapes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WagleError(
            f"{path} cannot be read: {str(error)[:200]}", "a checkpoint made by this pipeline"
        ) from None
    if not isinstance(shapes, dict) or not shapes:
        raise WagleError(f"{path} lists no parameters", "a checkpoint made by this pipeline")
    for shape in shapes.values():
        elements(shape)
    return shapes
