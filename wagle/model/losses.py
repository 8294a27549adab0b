"""Cross-entropy of the answer span, one number per row: what objectives, gradients and reference log-probs are made of.

Per-row losses, not batch means: a sum over rows is then the same however the rows were batched.
"""

import contextlib
from typing import NamedTuple

import torch

from wagle.data.batching import collate
from wagle.data.prompts import Encoded


class RowLoss(NamedTuple):
    """Cross-entropies in nats, each (B,): mean and sum over the answer span, and the span's length."""

    mean: torch.Tensor
    sum: torch.Tensor
    tokens: torch.Tensor

    def rows(self, index) -> "RowLoss":
        return RowLoss(self.mean[index], self.sum[index], self.tokens[index])


def answer_loss(model, rows: list[Encoded], pad_id: int) -> RowLoss:
    """One forward pass of `rows`; only positions that carry loss go through the output head.

    Logits are cast to fp32 (or kept in fp64) before the log-softmax.
    """
    ids, attention, span = collate(rows, pad_id, model.device)
    wanted = span[:, 1:]  # (B, T-1): positions whose next token carries loss, n in all
    with _head_at(model, wanted):
        logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits
    logits = (
        logits[0] if logits.shape[:2] == (1, int(wanted.sum())) else logits[:, :-1][wanted]
    )  # (n, V)
    if logits.dtype != torch.float64:
        logits = logits.float()
    token = torch.nn.functional.cross_entropy(logits, ids[:, 1:][wanted], reduction="none")  # (n,)
    total = token.new_zeros(wanted.shape).masked_scatter(wanted, token).sum(1)
    count = wanted.sum(1)
    return RowLoss(total / count, total, count)


@contextlib.contextmanager
def _head_at(model, wanted: torch.Tensor):
    """The output head sees (1, n, D) instead of (B, T, D). What models do to logits afterwards is elementwise.

    A model without an output head of that form computes all its logits as before.
    """
    head = model.get_output_embeddings()

    def narrow(_, args):
        hidden = args[0]
        if hidden.shape[:2] == (wanted.shape[0], wanted.shape[1] + 1):
            return (hidden[:, :-1][wanted][None], *args[1:])
        return None

    if not isinstance(head, torch.nn.Module):
        yield
        return
    handle = head.register_forward_pre_hook(narrow)
    try:
        yield
    finally:
        handle.remove()
