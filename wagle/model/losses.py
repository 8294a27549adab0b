"""Cross-entropy of the answer tokens, one number per row.

Gradients and reference losses are made of these. They are per-row losses, not batch means, so a
sum over rows is the same however the rows were batched.
"""

from typing import NamedTuple

import torch

from wagle.data.prompts import Encoded
from wagle.model.outputs import row_outputs


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
    outputs = row_outputs(model, rows, pad_id)
    return RowLoss(outputs.mean, outputs.sum, outputs.tokens)
