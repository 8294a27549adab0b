"""What scores are made from: rows drawn for them, and the files of gradients and input norms.

Left out: the gradients and norms themselves (gradients.py, input_norms.py).
"""

from pathlib import Path

import numpy as np
import torch

from wagle.attribution import output_rows
from wagle.attribution.input_norms import FeatureNorms
from wagle.model import tensors


def retain_sample(
    retain: list[dict], count: int, seed: int, with_replacement: bool = False
) -> list[dict]:
    """`count` of the retain rows, as many as there are forget rows, in their order.

    Where there are fewer, rows repeat. with_replacement: rows may repeat anyway.
    """
    rng = np.random.default_rng([seed, 3])
    replace = with_replacement or len(retain) < count
    return [retain[i] for i in sorted(rng.choice(len(retain), size=count, replace=replace))]


def calibration_sample(rows: list[dict], count: int, seed: int) -> list[dict]:
    """At most `count` of the rows, whose inputs Wanda measures, in their order."""
    picks = np.random.default_rng([seed, 4]).permutation(len(rows))[:count]
    return [rows[i] for i in sorted(picks)]


def write_gradients(
    path: str | Path, gradients: dict[str, torch.Tensor], reduction: str, rows: int
) -> None:
    """Write gradients by parameter name, fp32. reduction and rows: what they were summed over."""
    shapes = {name: list(gradient.shape) for name, gradient in gradients.items()}
    metadata = {"reduction": reduction, "rows": str(rows)}
    tensors.write(path, shapes, torch.float32, gradients.items(), metadata)


def write_norms(path: str | Path, norms: FeatureNorms, rows: int) -> None:
    """Write the input norms of so many rows, fp32."""
    shapes = {name: list(norm.shape) for name, norm in norms.by_name.items()}
    metadata = {"rows": str(rows)} | output_rows.metadata(norms.transposed)
    tensors.write(path, shapes, torch.float32, norms.by_name.items(), metadata)
