"""Cross-entropy of the answer span, one number per row: what objectives, gradients and reference log-probs are made of.

Per-row losses, not batch means: a sum over rows is then the same however the rows were batched.
"""

from typing import NamedTuple

import torch

from wagle.batching import collate
from wagle.prompts import Encoded


class RowLoss(NamedTuple):
    """Cross-entropies in nats, each (B,): mean and sum over the answer span, and the span's length."""

    mean: torch.Tensor
    sum: torch.Tensor
    tokens: torch.Tensor

    def rows(self, index) -> "RowLoss":
        return RowLoss(self.mean[index], self.sum[index], self.tokens[index])


def answer_loss(model, rows: list[Encoded], pad_id: int) -> RowLoss:
    """One forward pass of `rows`; logits are cast to fp32 (or kept in fp64) before the log-softmax."""
    ids, attention, span = collate(rows, pad_id, model.device)
    logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits[:, :-1]  # (B, T-1, V)
    if logits.dtype != torch.float64:
        logits = logits.float()
    labels = ids[:, 1:].masked_fill(~span[:, 1:], -100)  # (B, T-1)
    token = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100, reduction="none")
    count = span[:, 1:].sum(1)
    total = token.sum(1)
    return RowLoss(total / count, total, count)
