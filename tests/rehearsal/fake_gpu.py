"""Memory of a model on a GPU that does not exist: torch's own operators on tensors without data.

Under `fake_gpu()` tensors claim to lie on cuda:0. FakeTensorMode gives each result its shape and
dtype, autograd runs as ever, and `Accounting` adds up the bytes of the storages that live at each
moment. So the peak is that of the real code, whatever the model's size.

Notable: attention is what a flash kernel keeps: queries, keys, values, output and one fp32 a row
and head. A number that the host reads is 1.
Left out: what kernels need for themselves, fragmentation (tests/test_generation_memory.py), and the
CUDA context (0.5 to 1 GB).
"""

import contextlib
import weakref
from collections.abc import Iterator
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wagle.experiment.model_shape import Shape

aten = torch.ops.aten
FREE = ("view", "empty", "prim.", "aten.t.", "detach", "alias")


class FlashAttention(torch.autograd.Function):
    """The tensors of a flash-attention kernel, forwards and backwards, without values."""

    @staticmethod
    def forward(ctx, query, key, value):
        out = torch.empty_like(query)
        log_sum = torch.empty(query.shape[:3], dtype=torch.float32, device=query.device)
        ctx.save_for_backward(query, key, value, out, log_sum)
        return out

    @staticmethod
    def backward(ctx, gradient):
        return tuple(torch.empty_like(x) for x in ctx.saved_tensors[:3])


def attention(query, key, value, **_):
    if torch.is_autocast_enabled("cuda"):
        query, key, value = (x.bfloat16() for x in (query, key, value))
    return FlashAttention.apply(query, key, value)


class Accounting(TorchDispatchMode):
    """Counts bytes on the GPU.

    now, peak: bytes of living storages, and the most of them since reset().
    traffic: bytes that operators read and wrote since reset().
    """

    def __init__(self):
        super().__init__()
        self.now = self.peak = self.traffic = 0
        self.storages: set[int] = set()

    def reset(self) -> None:
        self.peak, self.traffic = self.now, 0

    def _add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.storages:
            self.storages.add(key)
            weakref.finalize(storage, self._drop, key, size)
            self.now += size
            self.peak = max(self.peak, self.now)

    def _drop(self, key: int, size: int) -> None:
        self.storages.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default:
            return True if args[0].dtype == torch.bool else 1
        out = func(*args, **kwargs)
        results = _on_gpu(out)
        for tensor in results:
            self._add(tensor)
        if not func.is_view and not any(word in str(func) for word in FREE):
            written = [t for t in results if not any(t is x for x in _on_gpu((args, kwargs)))]
            written += _on_gpu(
                [
                    value
                    for value, argument in zip(args, func._schema.arguments, strict=False)
                    if argument.alias_info is not None and argument.alias_info.is_write
                ]
            )
            moved = _on_gpu((args, kwargs)) + written
            self.traffic += sum(t.numel() * t.element_size() for t in moved)
        return out


def _on_gpu(tree) -> list[torch.Tensor]:
    return [t for t in tree_leaves(tree) if isinstance(t, torch.Tensor) and t.device.type == "cuda"]


class _Fake(FakeTensorMode):
    avoid_device_init = True


@contextlib.contextmanager
def fake_gpu() -> Iterator[Accounting]:
    """Inside the `with` block tensors may lie on cuda:0; gives the account of its memory."""
    pretended = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_bf16_supported": lambda *_, **__: True,
        "current_device": lambda: 0,
        "device_count": lambda: 1,
    }
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with contextlib.ExitStack() as stack:
            for name, value in pretended.items():
                stack.enter_context(mock.patch.object(torch.cuda, name, value))
            stack.enter_context(
                mock.patch.object(torch.nn.functional, "scaled_dot_product_attention", attention)
            )
            stack.enter_context(
                mock.patch.object(
                    torch.cuda.amp.common, "amp_definitely_not_available", lambda: False
                )
            )
            stack.enter_context(_Fake(allow_non_fake_inputs=True))
            yield stack.enter_context(Accounting())
    finally:
        torch._C._set_only_lift_cpu_tensors(False)


def llama(shape: Shape, dtype: torch.dtype):
    """A Llama of `shape` on cuda:0, in evaluation mode."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        vocab_size=shape.vocabulary,
        tie_word_embeddings=shape.tied,
    )
    with torch.device("cuda:0"):
        return LlamaForCausalLM._from_config(config, dtype=dtype).eval()
