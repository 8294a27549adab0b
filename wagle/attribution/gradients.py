"""Gradients of the answer loss, and input-feature norms, summed over rows in fp32.

One accumulator for both losses: the sum over rows of the gradient of each row's mean-token cross-entropy, so neither
the batches nor their order matter. `mean` divides by the number of rows at the end; gamma has no meaning without saying which.
Each parameter's gradient is moved into its accumulator the moment it is complete, so no second full set of gradients exists.
"""

import contextlib

import torch

from wagle.data.batching import by_length, collate
from wagle.data.prompts import Encoded
from wagle.errors import WagleError
from wagle.model.checkpointing import checkpointed
from wagle.model.losses import answer_loss


@contextlib.contextmanager
def _into(accumulators: dict, model):
    def hook(name):
        def move(parameter):
            accumulators[name].add_(parameter.grad)
            parameter.grad = None

        return move

    handles = [
        p.register_post_accumulate_grad_hook(hook(name)) for name, p in model.named_parameters()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def accumulate(model, rows: list[Encoded], pad_id: int, token_budget: int, reduction: str = "sum", *,
               activation_checkpointing: bool = False) -> tuple[dict, float]:  # fmt: skip
    """Gradient by parameter name (fp32, or fp64 for an fp64 model) and the mean loss in nats.

    Raises WagleError when a gradient is not finite, naming the tensor, or `rows` is empty.
    """
    if not rows:
        raise WagleError("no rows to take gradients of")
    if reduction not in ("sum", "mean"):
        raise WagleError(f"reduction {reduction!r}", "'sum' or 'mean'")
    sums = {
        n: torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32))
        for n, p in model.named_parameters()
    }
    total = 0.0
    with _into(sums, model), checkpointed(model, activation_checkpointing):
        for batch in by_length([len(row) for row in rows], token_budget):
            loss = answer_loss(model, [rows[i] for i in batch], pad_id).mean.sum()
            loss.backward()
            total += float(loss.detach())
    for name, gradient in sums.items():
        if not torch.isfinite(gradient).all():
            raise WagleError(
                f"the gradient of {name} has NaN or Inf",
                do="check the model's precision and the data rows",
            )
        if reduction == "mean":
            gradient /= len(rows)
    return sums, total / len(rows)


@torch.no_grad()
def feature_norms(
    model, rows: list[Encoded], pad_id: int, token_budget: int
) -> dict[str, torch.Tensor]:
    """Wanda's input norms by weight name: sqrt(mean over rows of the squared L2 norm of each input feature), (in,) fp32.

    For every linear layer but the output head. Pad positions do not count.
    """
    sums, keep = {}, {}
    head = model.get_output_embeddings()
    layers = {
        n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not head
    }

    def hook(name):
        def add(module, args):
            x = args[0].float()[keep["mask"]]  # (tokens, in)
            sums[name] = sums.get(name, 0) + (x * x).sum(0)

        return add

    handles = [
        layer.register_forward_pre_hook(hook(f"{name}.weight")) for name, layer in layers.items()
    ]
    try:
        for batch in by_length([len(row) for row in rows], token_budget):
            ids, attention, _ = collate([rows[i] for i in batch], pad_id, model.device)
            keep["mask"] = attention.bool()
            model(input_ids=ids, attention_mask=attention, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return {name: (squares / len(rows)).sqrt() for name, squares in sums.items()}
