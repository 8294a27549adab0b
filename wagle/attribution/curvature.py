"""The retain loss as curvature estimators see it, and the files that their estimates go to.

An estimate h stands for the diagonal of the retain Hessian in the score
S = theta * g_f - g_r * g_f / (h + d). It belongs to the same loss as g_r: the sum of the rows'
losses, or their mean. h of the sum is n times h of the mean. docs/curvature.md compares the
estimators.

Notable: an estimator is found by name (wagle/curvatures/), as scores are. A tensor or a layer may
share one number, its mean. That takes no further pass over the model.
"""

import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from wagle.attribution.gradients import Gradients, accumulate
from wagle.attribution.row_gradients import RowMoments, row_moments
from wagle.data.prompts import Encoded
from wagle.errors import WagleError
from wagle.model import tensors

PER = ("weight", "tensor", "layer")  # what shares one number
Shared = Callable[[str, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class RetainLoss:
    """The retain loss of a model: `factor` times the sum of its rows' mean-token losses.

    model: in evaluation mode. rows, pad_id: its data. generator: for estimators that draw.
    reduction: `sum` or `mean` over rows. token_budget: most tokens of a pass, with padding.
    activation_checkpointing: whether single backward passes compute activations again.
    """

    model: torch.nn.Module
    rows: list[Encoded]
    pad_id: int
    token_budget: int
    reduction: str
    generator: torch.Generator
    activation_checkpointing: bool = False

    @property
    def factor(self) -> float:
        """1 for the sum over rows, 1/n for their mean."""
        return 1.0 if self.reduction == "sum" else 1 / len(self.rows)

    def gradient(self) -> Gradients:
        """g_r, as the scores read it."""
        return accumulate(
            self.model,
            self.rows,
            self.pad_id,
            self.token_budget,
            self.reduction,
            activation_checkpointing=self.activation_checkpointing,
        )

    def row_moments(self) -> RowMoments:
        """Moments of the gradients of single rows."""
        return row_moments(
            self.model,
            self.rows,
            self.pad_id,
            activation_checkpointing=self.activation_checkpointing,
        )

    def everywhere(self, value: float) -> dict[str, torch.Tensor]:
        """One number for all weights, as an estimate: a tensor without dimensions by name."""
        return {name: torch.tensor(value) for name, _ in self.model.named_parameters()}


def estimate(module: str, loss: RetainLoss, options: dict) -> dict[str, torch.Tensor]:
    """h by parameter name: of the parameter's shape, or one number, from `module`.diagonal().

    Raises WagleError when the module does not fit, or a value is not finite.
    """
    try:
        plugin = importlib.import_module(module)
    except ImportError as error:
        raise WagleError(f"curvature module {module!r} cannot be imported: {error}") from None
    if not callable(getattr(plugin, "diagonal", None)):
        raise WagleError(f"{module} has no diagonal()", "the interface of docs/extending.md")
    result = plugin.diagonal(loss, **options)
    shapes = {name: list(p.shape) for name, p in loss.model.named_parameters()}
    if result.keys() != shapes.keys():
        differing = sorted(result.keys() ^ shapes.keys())
        raise WagleError(
            f"{module} disagrees with the model about {', '.join(differing[:3])}",
            "one tensor for each parameter",
        )
    for name, h in result.items():
        if list(h.shape) not in ([], shapes[name]):
            raise WagleError(
                f"{module} gave shape {list(h.shape)} for {name}", f"{shapes[name]}, or one number"
            )
        if not torch.isfinite(h).all():
            raise WagleError(
                f"the curvature of {name} has NaN or Inf",
                do="check the model's precision and the data rows",
            )
    return {name: result[name] for name in shapes}


def write(path: str | Path, h: Mapping[str, torch.Tensor], sizes: Mapping[str, int]) -> dict:
    """Write the estimate `h` of parameters with `sizes` weights each, fp32.

    Returns {mean, negative}: the mean of |h| over all weights, and the share of weights with h < 0.
    The file's header has the mean, too.
    """
    total = sum(sizes.values())

    def mean_of(values: Callable[[torch.Tensor], torch.Tensor]) -> float:
        parts = (float(values(h[name]).double().mean()) * sizes[name] for name in sizes)
        return sum(parts) / total

    stats = {"mean": mean_of(torch.abs), "negative": mean_of(lambda x: x < 0)}
    shapes = {name: list(h[name].shape) for name in sizes}
    metadata = {"mean": repr(stats["mean"])}
    tensors.write(path, shapes, torch.float32, ((name, h[name]) for name in sizes), metadata)
    return stats


def mean(path: str | Path) -> torch.Tensor:
    """The mean of |h| over all weights, from the header of a file of write().

    Raises WagleError when the file has none.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            return torch.tensor(float(file.metadata()["mean"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WagleError(
            f"{path} is not a curvature file: {error!r}", do="make it again with the pipeline"
        ) from None


def layer_of(name: str) -> str:
    """What shares one number by layer: the layer's prefix, or a parameter outside the layers."""
    match = re.match(r"(.*?\.\d+)\.", name)
    return match.group(1) if match else name


def stream(
    path: str | Path, names: Iterable[str], sizes: Mapping[str, int], per: str = "weight"
) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, h) of each of `names`, where the weights of a tensor or a layer may share their mean.

    per: one of PER. sizes: weights of each parameter.

    Raises WagleError for another `per`, and as tensors.stream() does.
    """
    if per not in PER:
        raise WagleError(f"curvature_per {per!r}", f"one of {', '.join(PER)}")
    names = list(names)
    if per == "layer":
        sums: dict[str, float] = {}
        weights: dict[str, int] = {}
        for name, h in tensors.stream(path, sizes):
            group = layer_of(name)
            sums[group] = sums.get(group, 0.0) + float(h.double().mean()) * sizes[name]
            weights[group] = weights.get(group, 0) + sizes[name]
        for name in names:
            yield name, torch.tensor(sums[layer_of(name)] / weights[layer_of(name)])
        return
    for name, h in tensors.stream(path, names):
        yield name, h.double().mean().float() if per == "tensor" else h
