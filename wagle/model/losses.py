"""Cross-entropy of the answer tokens, one number per row.

Objectives, gradients and reference losses are made of these. They are per-row losses, not batch
means, so a sum over rows is the same however the rows were batched.

Notable: only positions that carry loss go through the output head, by a hook on its input.
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


class AnswerLogits(NamedTuple):
    """What a model says at the n positions of B rows whose next token carries loss.

    logits: (n, V), fp32 or fp64. labels: the tokens that follow, (n,).
    positions: where they are, (B, T-1); the n positions go row by row.
    """

    logits: torch.Tensor
    labels: torch.Tensor
    positions: torch.Tensor


def answer_loss(model, rows: list[Encoded], pad_id: int) -> RowLoss:
    """The losses of `rows`, from one forward pass.

    Logits are cast to fp32 (or stay in fp64) before the log-softmax.
    """
    logits, labels, positions = answer_logits(model, rows, pad_id)
    token_losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")  # (n,)
    total = token_losses.new_zeros(positions.shape).masked_scatter(positions, token_losses).sum(1)
    count = positions.sum(1)
    return RowLoss(total / count, total, count)


def answer_logits(model, rows: list[Encoded], pad_id: int) -> AnswerLogits:
    """The logits of the answers of `rows`, from one forward pass."""
    batch = collate(rows, pad_id, model.device)
    # (B, T-1): positions whose next token carries loss; n of them in all
    positions = batch.loss_mask[:, 1:]
    with _output_head_at(model, positions):
        logits = model(
            input_ids=batch.ids, attention_mask=batch.attention_mask, use_cache=False
        ).logits
    if logits.shape[:2] == (1, int(positions.sum())):
        logits = logits[0]
    else:
        logits = logits[:, :-1][positions]
    if logits.dtype != torch.float64:
        logits = logits.float()
    return AnswerLogits(logits, batch.ids[:, 1:][positions], positions)


@contextlib.contextmanager
def _output_head_at(model, positions: torch.Tensor) -> Iterator[None]:
    """Inside the `with` block the output head sees (1, n, D) instead of (B, T, D).

    What models do to logits afterwards is elementwise, so it does not mind. A model without an
    output head of that form computes all its logits as before.
    """
    head = model.get_output_embeddings()

    def select_positions(_, args):
        hidden = args[0]
        if hidden.shape[:2] == (positions.shape[0], positions.shape[1] + 1):
            return (hidden[:, :-1][positions][None], *args[1:])
        return None

    if not isinstance(head, torch.nn.Module):
        yield
        return
    handle = head.register_forward_pre_hook(select_positions)
    try:
        yield
    finally:
        handle.remove()
