"""Tensors by name in safetensors files: a deterministic streaming writer, and streams over files.

Files are ordinary safetensors.

Notable: the library's own `save_file` writes several metadata keys in an order that differs from
run to run, and wants all tensors in memory. This writer sorts the header and takes tensors one at a
time.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from wagle.errors import WagleError

# Beside the weights of each checkpoint that this project writes: name -> shape, in model order.
ORDER = "parameters.json"
_DTYPE_NAMES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.uint8: "U8",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
}


def elements(shape) -> int:
    """Number of elements of `shape`.

    Raises WagleError unless it is a list of at most 8 whole numbers with a product below 2**48.
    """
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
    """A safetensors file that is written tensor by tensor.

    shapes: name -> shape, in the order in which the tensors come.
    dtype: of all tensors in the file.

    Raises WagleError when a tensor comes out of turn, has another shape or size, or is missing when
    the `with` block ends.
    """

    def __init__(
        self,
        path: str | Path,
        shapes: Mapping[str, list[int]],
        dtype,
        metadata: Mapping[str, str] | None = None,
    ):
        self.dtypes = dtype if isinstance(dtype, Mapping) else dict.fromkeys(shapes, dtype)
        self.expected = iter(shapes.items())
        offset, header = 0, {}
        if metadata:
            header["__metadata__"] = dict(sorted(metadata.items()))
        for name, shape in shapes.items():
            size = int(np.prod(shape, dtype=np.int64)) * self.dtypes[name].itemsize
            header[name] = {
                "dtype": _DTYPE_NAMES[self.dtypes[name]],
                "shape": list(shape),
                "data_offsets": [offset, offset + size],
            }
            offset += size
        body = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        body += b" " * (-len(body) % 8)
        self.file = open(path, "wb")  # noqa: SIM115 - closed by __exit__
        self.file.write(len(body).to_bytes(8, "little") + body)

    def put(self, name: str, shape: list[int], pieces: Iterable[torch.Tensor]) -> None:
        """Write the next tensor, given as `pieces` of its values in flat order."""
        next_name, next_shape = next(self.expected, (None, None))
        if (name, list(shape)) != (next_name, list(next_shape or [])):
            raise WagleError(
                f"tensor {name} {list(shape)}", f"{next_name} {next_shape}", "report this defect"
            )
        remaining = int(np.prod(shape, dtype=np.int64))
        for piece in pieces:
            flat = piece.detach().to(self.dtypes[name]).cpu().contiguous().reshape(-1)
            remaining -= flat.numel()
            if flat.numel():
                self.file.write(memoryview(flat.view(torch.uint8).numpy()))
        if remaining:
            raise WagleError(
                f"tensor {name} differs from its shape by {remaining} values",
                do="report this defect",
            )

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, error_type, *_) -> None:
        self.file.close()
        missing = next(self.expected, None)
        if missing and error_type is None:
            raise WagleError(f"tensor {missing[0]} was not written", do="report this defect")


def write(
    path: str | Path,
    shapes: Mapping[str, list[int]],
    dtype,
    tensors: Iterable[tuple[str, torch.Tensor]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write `tensors` (name, tensor), which must come with the names, order and shapes of `shapes`.

    Raises WagleError as Writer does.
    """
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
    """(name, tensor) for each of `names`, one tensor in memory at a time.

    path: a safetensors file, or a checkpoint folder with one or several of them.

    Raises WagleError when a file cannot be read or has no tensor of that name.
    """
    from safetensors import SafetensorError, safe_open

    try:
        files = [safe_open(str(shard), framework="pt") for shard in _shards(Path(path))]
        file_of = {name: file for file in files for name in file.keys()}  # noqa: SIM118 - not a dict
        for name in names:
            if name not in file_of:
                raise WagleError(
                    f"{path} has no tensor {name}", do="check that it belongs to this model"
                )
            yield name, file_of[name].get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise WagleError(
            f"{path} cannot be read: {error}", "safetensors", "delete it; its job then runs again"
        ) from None


def names(path: str | Path, order: Iterable[str]) -> list[str]:
    """The names of the tensors in file `path`, in the order of `order`.

    Raises WagleError when the file cannot be read or has a name that `order` lacks.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            stored = set(file.keys())
    except (OSError, SafetensorError) as error:
        raise WagleError(f"{path} cannot be read: {error}", "safetensors") from None
    order = list(order)
    if stored - set(order):
        raise WagleError(
            f"{path} has {min(stored - set(order))}, which the model has not",
            "tensors of this model",
        )
    return [name for name in order if name in stored]


def metadata(path: str | Path) -> dict[str, str]:
    """The metadata in the header of file `path`. Raises WagleError when it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise WagleError(f"{path} cannot be read: {error}", "safetensors") from None


def parameter_shapes(checkpoint: str | Path) -> dict[str, list[int]]:
    """Name -> shape of a checkpoint's parameters, in the model's own order, tied ones once.

    Raises WagleError for a checkpoint that this project did not write.
    """
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
