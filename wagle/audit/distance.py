"""How far apart are two versions of an artifact whose bytes differ?

Another processor adds up in another order, so a re-run elsewhere gives close numbers, not equal
ones. The distance of two files is the largest difference between two numbers at the same place. It
is relative to the largest magnitude beside them: that of a tensor, a column, or the number itself.
The distance of two masks is the share of bits that differ.

Notable: strings, names, shapes and everything else that is no number must be equal; where they are
not, the distance is infinite.
Left out: pictures and PDFs. Their data lie beside them as CSV.
"""

import csv
import io
import json
import math
import re
from pathlib import Path

from wagle.errors import WagleError

NOT_COMPARED = (".pdf", ".png", ".svg", ".html")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.])")


def distance(first: Path, second: Path) -> float | None:
    """The largest relative difference of two files of one kind.

    It is infinite where more than numbers differ, and None for pictures. Raises WagleError when one
    of the files cannot be read.
    """
    kind = first.suffix
    if kind in NOT_COMPARED:
        return None
    if kind == ".safetensors":
        return _between_tensors(first, second)
    if kind == ".parquet":
        return _between_columns(first, second)
    try:
        contents = [path.read_text(encoding="utf-8") for path in (first, second)]
        if kind == ".json":
            return _between_values(*map(json.loads, contents))
        if kind == ".jsonl":
            return _between_values(*map(_json_lines, contents))
        if kind == ".csv":
            return _between_values(*(list(csv.reader(io.StringIO(table))) for table in contents))
        return _between_texts(*contents)
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise WagleError(f"{first} and {second} cannot be compared: {error}") from None


def _json_lines(content: str) -> list:
    return [json.loads(line) for line in content.split("\n") if line]


def _between_numbers(first: float, second: float) -> float:
    """|first - second| over the larger magnitude; NaN equals NaN and nothing else."""
    if math.isnan(first) or math.isnan(second):
        return 0.0 if math.isnan(first) and math.isnan(second) else math.inf
    if first == second:
        return 0.0
    if math.isinf(first) or math.isinf(second):
        return math.inf
    return abs(first - second) / max(abs(first), abs(second))


def _between_values(first, second) -> float:
    """The distance of two JSON values; two strings that read as numbers are numbers."""
    if isinstance(first, dict) and isinstance(second, dict):
        if first.keys() != second.keys():
            return math.inf
        return max((_between_values(first[key], second[key]) for key in first), default=0.0)
    if isinstance(first, list) and isinstance(second, list):
        if len(first) != len(second):
            return math.inf
        pairs = zip(first, second, strict=True)
        return max((_between_values(a, b) for a, b in pairs), default=0.0)
    if first == second:
        return 0.0
    if isinstance(first, bool) or isinstance(second, bool):
        return math.inf
    try:
        return _between_numbers(float(first), float(second))
    except (TypeError, ValueError):
        return math.inf


def _between_texts(first: str, second: str) -> float:
    """The distance of two texts, whose words must be equal apart from the numbers."""
    if _NUMBER.sub("#", first) != _NUMBER.sub("#", second):
        return math.inf
    pairs = zip(_NUMBER.findall(first), _NUMBER.findall(second), strict=True)
    return max((_between_numbers(float(a), float(b)) for a, b in pairs), default=0.0)


def _between_tensors(first: Path, second: Path) -> float:
    import torch
    from safetensors import SafetensorError, safe_open

    from wagle.model import tensors

    try:
        names = [sorted(safe_open(str(path), framework="pt").keys()) for path in (first, second)]
    except (OSError, SafetensorError) as error:
        raise WagleError(f"{first} and {second} cannot be compared: {error}") from None
    if names[0] != names[1]:
        return math.inf
    largest = 0.0
    streams = (tensors.stream(path, names[0]) for path in (first, second))
    for (_, a), (_, b) in zip(*streams, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            return math.inf
        if a.dtype == torch.uint8:  # a mask: one bit a weight
            bits = sum(((a ^ b) >> bit & 1).sum().item() for bit in range(8))
            relative = bits / max(1, 8 * a.numel())
        else:
            a, b = a.double(), b.double()
            scale = max(a.abs().max().item(), b.abs().max().item()) if a.numel() else 0.0
            relative = (a - b).abs().max().item() / scale if scale else 0.0
        largest = max(largest, math.inf if math.isnan(relative) else relative)
    return largest


def _between_columns(first: Path, second: Path) -> float:
    import numpy as np

    from wagle.evaluation import scoring

    one, two = scoring.read_log(first), scoring.read_log(second)
    if one.keys() != two.keys() or any(len(one[name]) != len(two[name]) for name in one):
        return math.inf
    largest = 0.0
    for name, a in one.items():
        b = two[name]
        if a.dtype.kind == "f" and b.dtype.kind == "f":
            a, b = a.astype(np.float64), b.astype(np.float64)
            scale = max(np.abs(a).max(initial=0), np.abs(b).max(initial=0))
            relative = float(np.abs(a - b).max(initial=0) / scale) if scale else 0.0
            largest = max(largest, relative)
        elif not np.array_equal(a, b):
            return math.inf
    return largest
