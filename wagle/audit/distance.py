"""How far apart two versions of an artifact are, where their bytes differ: numbers are compared as numbers.

Another processor adds up in another order, so a re-run elsewhere gives close numbers, not equal ones. `distance` is the
largest difference between two numbers at the same place, relative to the largest magnitude beside them (a tensor, a column,
a file); a mask's is the share of bits that differ. Texts, names, shapes and everything that is no number must be equal.

Left out: pictures and PDFs, whose data lie beside them as CSV.
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
    """Largest relative difference of two files of one kind; inf where more than numbers differ; None for pictures.

    Raises WagleError when one of them cannot be read.
    """
    kind = first.suffix
    if kind in NOT_COMPARED:
        return None
    if kind == ".safetensors":
        return _tensors(first, second)
    if kind == ".parquet":
        return _parquet(first, second)
    try:
        one, two = (path.read_text(encoding="utf-8") for path in (first, second))
        if kind == ".json":
            return _values(json.loads(one), json.loads(two))
        if kind == ".jsonl":
            return _values(
                *([json.loads(line) for line in text.split("\n") if line] for text in (one, two))
            )
        if kind == ".csv":
            return _values(*(list(csv.reader(io.StringIO(text))) for text in (one, two)))
        return _text(one, two)
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise WagleError(f"{first} and {second} cannot be compared: {error}") from None


def _relative(pairs: list[tuple[float, float]]) -> float:
    """Largest difference over the largest magnitude; NaN equals NaN and nothing else."""
    if any(math.isnan(a) != math.isnan(b) for a, b in pairs):
        return math.inf
    pairs = [(a, b) for a, b in pairs if not math.isnan(a) and a != b] + [(0.0, 0.0)]
    if any(math.isinf(a) or math.isinf(b) for a, b in pairs):
        return math.inf
    scale = max(max(abs(a), abs(b)) for a, b in pairs)
    return max(abs(a - b) for a, b in pairs) / scale if scale else 0.0


def _values(first, second) -> float:
    """Of two JSON values, number by number; texts that both read as numbers are numbers."""
    if isinstance(first, dict) and isinstance(second, dict):
        if first.keys() != second.keys():
            return math.inf
        return max((_values(first[key], second[key]) for key in first), default=0.0)
    if isinstance(first, list) and isinstance(second, list):
        if len(first) != len(second):
            return math.inf
        return max((_values(a, b) for a, b in zip(first, second, strict=True)), default=0.0)
    if first == second:
        return 0.0
    if isinstance(first, bool) or isinstance(second, bool):
        return math.inf
    try:
        return _relative([(float(first), float(second))])
    except (TypeError, ValueError):
        return math.inf


def _text(first: str, second: str) -> float:
    if _NUMBER.sub("#", first) != _NUMBER.sub("#", second):
        return math.inf
    return max(
        (
            _relative([(float(a), float(b))])
            for a, b in zip(_NUMBER.findall(first), _NUMBER.findall(second), strict=True)
        ),
        default=0.0,
    )


def _tensors(first: Path, second: Path) -> float:
    import torch
    from safetensors import SafetensorError, safe_open

    from wagle.model import tensors

    try:
        names = [sorted(safe_open(str(path), framework="pt").keys()) for path in (first, second)]
    except (OSError, SafetensorError) as error:
        raise WagleError(f"{first} and {second} cannot be compared: {error}") from None
    if names[0] != names[1]:
        return math.inf
    worst = 0.0
    for (_, a), (_, b) in zip(
        tensors.stream(first, names[0]), tensors.stream(second, names[0]), strict=True
    ):
        if a.shape != b.shape or a.dtype != b.dtype:
            return math.inf
        if a.dtype == torch.uint8:  # a mask: one bit a weight
            found = sum(((a ^ b) >> bit & 1).sum().item() for bit in range(8)) / max(
                1, 8 * a.numel()
            )
        else:
            a, b = a.double(), b.double()
            scale = max(a.abs().max().item(), b.abs().max().item()) if a.numel() else 0.0
            found = (a - b).abs().max().item() / scale if scale else 0.0
        worst = max(worst, math.inf if math.isnan(found) else found)
    return worst


def _parquet(first: Path, second: Path) -> float:
    import numpy as np

    from wagle.evaluation import scoring

    one, two = scoring.read_log(first), scoring.read_log(second)
    if one.keys() != two.keys() or any(len(one[name]) != len(two[name]) for name in one):
        return math.inf
    worst = 0.0
    for name, a in one.items():
        b = two[name]
        if a.dtype.kind == "f" and b.dtype.kind == "f":
            a, b = a.astype(np.float64), b.astype(np.float64)
            scale = max(np.abs(a).max(initial=0), np.abs(b).max(initial=0))
            worst = max(worst, float(np.abs(a - b).max(initial=0) / scale) if scale else 0.0)
        elif not np.array_equal(a, b):
            return math.inf
    return worst
