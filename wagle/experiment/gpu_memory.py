"""Peak GPU memory of a job, in bytes, from the model's shape and the batch.

Weights, gradients, moments and masks are exact. What the backward pass needs of a Llama block is
added up tensor by tensor, in the number formats that torch stores them in. tests/test_gpu_memory.py
holds each number against an account of the real code's tensors, within 5 %.

Notable: memory peaks at one of three moments. At the end of the forward pass all activations are
there, but no gradients yet. At the end of the backward pass all gradients are. The optimizer adds
temporaries of one piece.
Left out: the CUDA context (0.5 to 1 GB), fragmentation, and what kernels need for themselves.
"""

from dataclasses import dataclass

from wagle.experiment.model_shape import Shape

BYTES = {"fp32": 4, "bf16": 2, "bf16-stochastic": 2, "bf16-kahan": 2}  # a weight
MOMENTS = {"fp32": 8, "bf16": 4, "bf16-stochastic": 4, "bf16-kahan": 6}  # moments and compensation
MASK = 1 / 8  # bytes a weight: masks are packed on a GPU
PIECE = 1 << 24  # weights that the optimizer takes at a time (wagle/runtime/threads.py)
# Temporaries of a step in bytes for each weight of a piece, and bytes that a masked step moves for
# each weight of the model, both counted from the operators of wagle/training/optimizers.py.
TEMPORARIES = {"fp32": 9, "bf16": 5, "bf16-stochastic": 41, "bf16-kahan": 43}
STEP_TRAFFIC = {"fp32": 77, "bf16": 41, "bf16-stochastic": 263, "bf16-kahan": 328}
ANSWER = 2 / 3  # of a text's tokens: those that carry loss
LOSS = 12  # bytes a logit: its log-softmax, and the gradients of both in fp32


def gradient_bytes(precision: str) -> int:
    """Bytes of a weight and its gradient, which is summed in fp32."""
    return BYTES[precision] + 4


def training_bytes(policy: str, *, masked: bool) -> float:
    """Bytes of a weight, its gradient, its moments and its place in the mask."""
    return 2 * BYTES[policy] + MOMENTS[policy] + (MASK if masked else 0)


@dataclass(frozen=True, kw_only=True)
class Passes:
    """A forward and backward pass on one GPU.

    tokens: of the batch. precision: fp32 or bf16, of the weights.
    autocast: matrix products of fp32 weights run in bf16. checkpointed: blocks are recomputed.
    """

    model: Shape
    tokens: float
    precision: str
    autocast: bool = False
    checkpointed: bool = False

    @property
    def _casts(self) -> bool:
        return self.autocast and self.precision == "fp32"

    @property
    def residual_width(self) -> int:
        """Bytes of a number that flows from block to block."""
        return BYTES[self.precision]

    @property
    def block(self) -> float:
        """Bytes that one block keeps for its backward pass.

        The norms keep their input, what they normalized (in fp32) and their output; attention its
        queries, keys, values, output and one fp32 a row and head; the gated MLP four tensors.
        """
        h, queries, kv = self.model.hidden, self.model.queries, self.model.kv
        width = 2 if self._casts else BYTES[self.precision]
        norms = {"fp32": 24, "bf16": 16}[self.precision] * h
        if self._casts:  # the output once for each of five products, in bf16
            norms = 26 * h
        attention = width * (2 * queries + 2 * kv) + 4 * self.model.heads
        return self.tokens * (norms + attention + width * 4 * self.model.intermediate)

    @property
    def copies(self) -> float:
        """Bytes of the bf16 copies of weights that autocast keeps for the backward pass."""
        if not self._casts:
            return 0
        head = self.model.vocabulary * self.model.hidden
        blocks = 1 if self.checkpointed else self.model.layers
        return 2 * (head + blocks * self.model.block_parameters)

    @property
    def stored(self) -> float:
        """Bytes at the end of the forward pass, with the loss's first gradients."""
        loss = LOSS * ANSWER * self.tokens * self.model.vocabulary
        inputs = self.model.layers * self.tokens * self.model.hidden * self.residual_width
        last = 8 * self.tokens * self.model.hidden  # the last norm, and what the head sees
        if self.checkpointed:
            return inputs + last + max(loss, self.block + self.copies)
        return self.model.layers * self.block + self.copies + last + loss


def training(
    passes: Passes,
    policy: str,
    *,
    masked: bool,
    offloaded: bool = False,
    micro_batches: int = 1,
    gpus: int = 1,
) -> float:
    """A training step on each of `gpus` GPUs, after the first, when the moments are there.

    offloaded: the moments lie in host memory. With several micro-batches a forward pass finds the
    gradients of those before it.
    """
    n = passes.model.parameters / gpus
    gradients = n * BYTES[policy]
    state = n * training_bytes(policy, masked=masked) - gradients
    state -= n * MOMENTS[policy] if offloaded else 0
    temporaries = TEMPORARIES[policy] * min(PIECE, passes.model.largest_parameter / gpus)
    if policy in ("fp32", "bf16") and not masked:
        temporaries = MOMENTS[policy] * PIECE if offloaded else 0
    before = gradients if micro_batches > 1 else 0
    gathered = _gathered(passes) if gpus > 1 else 0
    return state + max(before + passes.stored + gathered, gradients + temporaries)


def adapters(passes: Passes) -> float:
    """A training step of LoRA: frozen weights, and what their passes keep. Adapters are small."""
    return passes.model.parameters * BYTES[passes.precision] + passes.stored


def _gathered(passes: Passes) -> float:
    """Two blocks and the embeddings, whole, with their gradients: what several GPUs gather."""
    embeddings = 2 * passes.model.vocabulary * passes.model.hidden
    return 2 * BYTES[passes.precision] * (2 * passes.model.block_parameters + embeddings)


def attribution(passes: Passes) -> float:
    """Gradients summed in fp32 beside the model, each tensor's moved as soon as it is there."""
    return passes.model.parameters * gradient_bytes(passes.precision) + passes.stored


def _forward(model: Shape, tokens: float, width: int) -> float:
    """Bytes of a block's forward pass when nothing is kept: three tensors of the MLP, four others.

    `width` is that of a number in bytes.
    """
    return width * tokens * (3 * model.intermediate + 4 * model.hidden)


def scoring(model: Shape, tokens: float, precision: str) -> float:
    """The pass over a batch of `tokens` tokens, and the logits of all of them."""
    width = BYTES[precision]
    logits = width * tokens * (model.vocabulary + 3 * model.hidden)
    return width * model.parameters + max(_forward(model, tokens, width), logits)


def generation(model: Shape, tokens: float, prompt: float, precision: str) -> float:
    """Decoding of a batch whose rows and new tokens are `tokens` in all.

    prompt: share of the prompts in these tokens. The cache grows by a copy, one layer's keys or
    values at a time.
    """
    width = BYTES[precision]
    layer = 2 * model.kv * width * tokens
    full = model.layers * layer + layer / 2
    first = prompt * model.layers * layer + _forward(model, prompt * tokens, width)
    return width * model.parameters + max(full, first)
