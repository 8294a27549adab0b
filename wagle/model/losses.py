"""Cross-entropy of the answer tokens, one number per row.

Objectives, gradients and reference losses are made of these. They are per-row losses, not batch
means, so a sum over rows is the same however the rows were batched.

Notable: only positions that carry loss go through the output head, by a hook on its input. Nothing
here makes the host wait for a GPU.
"""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import torch

from wagle.data.batching import collate
from wagle.data.prompts import Encoded


class RowLoss(NamedTuple):
    """Cross-entropy of B answers in nats, each field (B,).

    mean, sum: over the answer's tokens. tokens: their number.
    """

    mean: torch.Tensor
    sum: torch.Tensor
    tokens: torch.Tensor

    def rows(self, index) -> "RowLoss":
        """The losses of some rows: a slice, or a tensor of indices."""
        return RowLoss(self.mean[index], self.sum[index], self.tokens[index])


def answer_loss(model, rows: list[Encoded], pad_id: int) -> RowLoss:
    """The losses of `rows`, from one forward pass.

    Logits are cast to fp32 (or stay in fp64) before the log-softmax.
    """
    batch = collate(rows, pad_id, model.device)
    predictors = batch.predictors  # (n,)
    with _output_head_at(model, batch.ids.shape, predictors):
        logits = model(
            input_ids=batch.ids, attention_mask=batch.attention_mask, use_cache=False
        ).logits
    if logits.shape[:2] == (1, len(predictors)):
        logits = logits[0]  # (n, V)
    else:
        logits = logits.flatten(0, 1).index_select(0, predictors)  # (n, V)
    if logits.dtype != torch.float64:
        logits = logits.float()
    labels = batch.ids.flatten().index_select(0, predictors + 1)  # (n,)
    token_losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")  # (n,)
    by_position = token_losses.new_zeros(batch.ids.numel()).index_copy(0, predictors, token_losses)
    total = by_position.view(batch.ids.shape)[:, :-1].sum(1)
    count = batch.loss_mask[:, 1:].sum(1)
    return RowLoss(total / count, total, count)


@contextlib.contextmanager
def _output_head_at(model, shape: torch.Size, predictors: torch.Tensor) -> Iterator[None]:
    """Inside the `with` block the output head sees (1, n, D) instead of (B, T, D).

    shape: (B, T). predictors: the n positions, as in PaddedRows.

    What models do to logits afterwards is elementwise, so it does not mind. A model without an
    output head of that form computes all its logits as before.
    """
    head = model.get_output_embeddings()

    def select_positions(_, args):
        hidden = args[0]
        if hidden.shape[:2] == shape:
            return (hidden.flatten(0, 1).index_select(0, predictors)[None], *args[1:])
        return None

    if not isinstance(head, torch.nn.Module):
        yield
        return
    handle = head.register_forward_pre_hook(select_positions)
    try:
        yield
    finally:
        handle.remove()
