"""Wanda's input norms: how large the inputs of each matrix product with a weight are.

Notable: products are seen as torch computes them, whatever module makes them. So nn.Linear, its
subclasses, transformers' Conv1D, routers and fused experts need no list of classes. Fused experts
compute one product for each expert under transformers' `eager` implementation, which is on
meanwhile. An expert's rows no longer say which of them are padding, so rows of one length share a
pass there.

Left out: convolutions, and products inside a fused kernel. Weights of two or more sides that no
product was seen of are named.
"""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.overrides import TorchFunctionMode

from wagle.data.batching import by_length, collate
from wagle.data.prompts import Encoded
from wagle.errors import WagleError

_MATMULS = (torch.matmul, torch.mm, torch.Tensor.matmul, torch.Tensor.mm)


class FeatureNorms(NamedTuple):
    """Input norms of the weights that a model multiplies with.

    by_name: parameter name -> norms, fp32, of shape (in,), or (experts, in) for fused experts.
    transposed: weights stored as (..., in, out).
    uncovered: weights of two or more sides, embeddings and output head apart, without norms.
    unreached: parameter name -> experts that no token reached; their norms are zero.
    """

    by_name: dict[str, torch.Tensor]
    transposed: set[str]
    uncovered: list[str]
    unreached: dict[str, list[int]]

    def describe(self) -> str:
        """What has norms and what has not, in a few lines for a job's log."""
        lines = [f"input norms of {len(self.by_name)} weights"]
        lines += [f"no input norms, so not ranked: {name}" for name in self.uncovered]
        lines += [
            f"{name}: no token reached experts {', '.join(map(str, experts))}; their scores tie"
            for name, experts in self.unreached.items()
        ]
        return "\n".join(lines)


class _Product(NamedTuple):
    """A matrix product with a possible weight.

    x: the other operand (..., in). weight: the operand. is_out_in: whether it stands as (out, in).
    """

    x: torch.Tensor
    weight: torch.Tensor
    is_out_in: bool


def _products(function, args: tuple, kwargs: dict) -> list[_Product]:
    """The product that a call of torch computes, in each reading of which operand is the weight."""
    if function is torch.nn.functional.linear:
        named = dict(zip(("input", "weight"), args, strict=False)) | kwargs
        return [_Product(named["input"], named["weight"], is_out_in=True)]
    if function is torch.addmm:
        return [_Product(args[1], args[2], is_out_in=False)]
    if function in _MATMULS and len(args) == 2:
        left, right = args
        products = [_Product(left, right, is_out_in=False)]
        if right.ndim > 1:
            products.append(_Product(right.mT, left, is_out_in=True))
        return products
    return []


class _SquareSums(TorchFunctionMode):
    """Sums the squares of the inputs of `weights` (name -> parameter) inside a `with` block.

    attention_mask: (B, T) of the batch that is passed through the model.
    """

    def __init__(self, weights: dict[str, torch.nn.Parameter]):
        super().__init__()
        self.weights, self.names = weights, {id(w): name for name, w in weights.items()}
        self.sums: dict[str, torch.Tensor] = {}
        self.transposed: set[str] = set()
        self.attention_mask = None

    def __torch_function__(self, function, types, args=(), kwargs=None):
        for product in _products(function, args, kwargs or {}):
            operand = product.weight
            name = self.names.get(id(operand)) or self.names.get(id(operand._base))
            if name is not None:
                self._add(name, product)
        return function(*args, **(kwargs or {}))

    def _add(self, name: str, product: _Product) -> None:
        weight, operand = self.weights[name], product.weight
        stored = (weight.shape[-2:], weight.stride()[-2:])
        used = (operand.shape, operand.stride())
        turned = used == (stored[0][::-1], stored[1][::-1])
        if used != stored and not turned:
            raise WagleError(
                f"{name} is multiplied in pieces of shape {list(operand.shape)}",
                "products with whole matrices",
                "use a selection that needs no activations",
            )
        if product.is_out_in == turned:
            self.transposed.add(name)
        squares = self._real_tokens(name, product.x).square().sum(0)  # (in,)
        if weight.ndim == 2:
            self.sums[name] = self.sums.get(name, 0) + squares
            return
        if name not in self.sums:
            self.sums[name] = squares.new_zeros(len(weight), len(squares))
        offset = operand.storage_offset() - weight.storage_offset()
        self.sums[name][offset // weight[0].numel()] += squares

    def _real_tokens(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """The rows of `x` that are no padding, (tokens, in), fp32."""
        mask = self.attention_mask.bool()
        if x.shape[:-1].numel() == mask.numel():
            return x.float().reshape(-1, x.shape[-1])[mask.reshape(-1)]
        if not mask.all():
            raise WagleError(
                f"the inputs of {name} have shape {list(x.shape)}",
                f"one for each of {list(mask.shape)} tokens",
                "use a selection that needs no activations",
            )
        return x.float().reshape(-1, x.shape[-1])


@contextlib.contextmanager
def _eager_experts(model, active: bool) -> Iterator[None]:
    """Inside the `with` block fused experts are computed one after the other, if `active`."""
    if not active:
        yield
        return
    before = model.config._experts_implementation
    model.set_experts_implementation("eager")
    try:
        yield
    finally:
        model.set_experts_implementation(before)


@torch.no_grad()
def feature_norms(model, rows: list[Encoded], pad_id: int, token_budget: int) -> FeatureNorms:
    """Wanda's input norms (Sun et al. 2023, arXiv 2306.11695, eq. 1).

    They are sqrt(mean over rows of the squared L2 norm of each input feature), for every weight but
    embeddings and the output head. Padding does not count. An expert's norms count the tokens that
    were sent to it.

    Raises WagleError for a weight that is used in a form that is not understood, and when no weight
    has norms.
    """
    matrices = {name: p for name, p in model.named_parameters() if p.ndim > 1}
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    head = model.get_output_embeddings()
    outside = embeddings | ({id(head.weight)} if head is not None else set())
    weights = {name: p for name, p in matrices.items() if id(p) not in outside}
    has_experts = any(p.ndim == 3 and "expert" in name for name, p in weights.items())
    sums = _SquareSums({name: p for name, p in weights.items() if p.ndim <= 3})
    with _eager_experts(model, has_experts):
        for batch in _batches([len(row) for row in rows], token_budget, has_experts):
            padded = collate([rows[i] for i in batch], pad_id, model.device)
            sums.attention_mask = padded.attention_mask
            with sums:
                model(input_ids=padded.ids, attention_mask=sums.attention_mask, use_cache=False)
    if not sums.sums:
        raise WagleError(
            "no matrix product with a weight was seen, so there are no input norms",
            do="use a selection that needs no activations",
        )
    return FeatureNorms(
        by_name={name: (squares / len(rows)).sqrt() for name, squares in sums.sums.items()},
        transposed=sums.transposed,
        uncovered=[name for name in weights if name not in sums.sums],
        unreached={
            name: missing
            for name, squares in sums.sums.items()
            if squares.ndim == 2 and (missing := (squares.sum(1) == 0).nonzero().flatten().tolist())
        },
    )


def _batches(lengths: list[int], token_budget: int, one_length: bool) -> list[list[int]]:
    """Batches of rows under `token_budget`, each of rows of one length if `one_length`."""
    if not one_length:
        return list(by_length(lengths, token_budget))
    result = []
    for length in sorted(set(lengths)):
        same = [i for i, other in enumerate(lengths) if other == length]
        size = max(1, token_budget // length)
        result += [same[start : start + size] for start in range(0, len(same), size)]
    return result
