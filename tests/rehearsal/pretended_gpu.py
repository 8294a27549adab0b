"""A pretended GPU: tensors that claim to lie on cuda:0 and compute their values on the CPU.

Under `pretended_gpu()` an operator raises where it mixes devices as a real one would, and what
makes the host wait for the GPU is counted by its place in the project's code.

Left out: real kernels, several devices, and the order of asynchronous work.
"""

import collections
import contextlib
import sys
from collections.abc import Iterator
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from wagle.runtime.identity import ROOT

aten = torch.ops.aten
CUDA = torch.device("cuda", 0)
WAITS = collections.Counter()
CROSSING = {aten._to_copy.default, aten.copy_.default, aten.detach.default}
READING = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.equal.default,
}
INDEXING = {
    aten.index.Tensor,
    aten.index_put_.default,
    aten.index_put.default,
    aten._index_put_impl_.default,
}


class OnGpu(torch.Tensor):
    """A tensor on cuda:0; `inner` on the CPU has its values."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: torch.Tensor):
        result = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=CUDA,
        )
        result.inner = inner
        return result

    def __repr__(self):
        return f"OnGpu({tuple(self.shape)}, {self.dtype})"

    def tolist(self):
        WAITS[f"tolist at {_place()}"] += 1
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _place() -> str:
    """The innermost line of the project's library, and whether a library waits below it."""
    frame, below = sys._getframe(2), ""
    while frame:
        name = frame.f_code.co_filename
        if name.startswith(f"{ROOT}/wagle/"):
            return f"{name.removeprefix(f'{ROOT}/')}:{frame.f_lineno}{below}"
        if "/transformers/" in name and not below:
            below = " (transformers)"
        frame = frame.f_back
    return f"a test{below}"


def _is_on_cpu(value) -> bool:
    return isinstance(value, torch.Tensor) and not isinstance(value, OnGpu)


def _check_devices(func, args, values: list) -> None:
    """Raise where operands of one operator lie on both devices; a scalar may lie on the CPU."""
    arrays = [x for x in values if _is_on_cpu(x) and x.dim() > 0]
    if not arrays or func in CROSSING:
        return
    if func in INDEXING and isinstance(args[0], OnGpu):
        WAITS[f"index from the CPU at {_place()}"] += 1
        return
    raise RuntimeError(f"{func}: tensors on cuda:0 and on the CPU, at {_place()}")


def _count_wait(func, args, to_cpu: bool) -> None:
    """Count what a real GPU would make the host wait for."""
    masks = func in INDEXING and any(
        isinstance(i, torch.Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1]
    )
    crosses = func is aten.copy_.default and isinstance(args[0], OnGpu) != isinstance(
        args[1], OnGpu
    )
    if func in READING or masks or (func is aten._to_copy.default and to_cpu) or crosses:
        WAITS[f"{func} at {_place()}"] += 1


def _run(func, args, kwargs):
    values, spec = tree_flatten((args, kwargs))
    any_on_gpu = any(isinstance(x, OnGpu) for x in values)
    device = kwargs.get("device")
    kind = torch.device(device).type if device is not None else ("cuda" if any_on_gpu else "cpu")
    if any_on_gpu:
        _check_devices(func, args, values)
        _count_wait(func, args, kind == "cpu")
    outer = {id(x.inner): x for x in values if isinstance(x, OnGpu)}
    inner = [x.inner if isinstance(x, OnGpu) else x for x in values]
    inner_args, inner_kwargs = tree_unflatten(inner, spec)
    if device is not None:
        inner_kwargs["device"] = torch.device("cpu")
    if inner_kwargs.get("pin_memory"):
        inner_kwargs["pin_memory"] = False
    out = func(*inner_args, **inner_kwargs)
    if func is aten.copy_.default:
        return args[0]

    def wrap(x):
        if not _is_on_cpu(x):
            return x
        if id(x) in outer:
            return outer[id(x)]
        if kind != "cuda":
            return x
        return OnGpu(x.clone() if any(x is y for y in inner) else x)

    return tree_map(wrap, out)


def attention(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
):
    """scaled_dot_product_attention from operators that have no kernel of their own on a GPU."""
    if enable_gqa:
        groups = query.size(1) // key.size(1)
        key, value = (x.repeat_interleave(groups, 1) for x in (key, value))
    scores = (query @ key.transpose(-2, -1)).float() * (scale or query.size(-1) ** -0.5)
    if is_causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
        scores = scores.masked_fill(~allowed, float("-inf"))
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    elif attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(-1).nan_to_num(0.0).to(value.dtype) @ value


@contextlib.contextmanager
def pretended_gpu() -> Iterator[collections.Counter]:
    """Inside the `with` block there is one GPU; gives the count of the host's waits by place."""
    torch._C._set_only_lift_cpu_tensors(True)
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    cuda = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_bf16_supported": lambda *_, **__: True,
        "current_device": lambda: 0,
        "device_count": lambda: 1,
    }
    with contextlib.ExitStack() as stack:
        for name, value in cuda.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        for owner, name, value in (
            (torch.nn.functional, "scaled_dot_product_attention", attention),
            (torch.cuda.amp.common, "amp_definitely_not_available", lambda: False),
        ):
            stack.enter_context(mock.patch.object(owner, name, value))
        stack.enter_context(_Mode())
        WAITS.clear()
        yield WAITS
