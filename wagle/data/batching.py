"""Batches by length under a token budget, and their padding.

Padding costs what it multiplies, so texts of similar length go together: a batch's rows times its
longest row stay under `token_budget`. The partition is a deterministic function of the lengths.
Results that are sums over rows do not depend on it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from wagle.data.prompts import Encoded
from wagle.errors import WagleError


class PaddedRows(NamedTuple):
    """Right-padded rows, each tensor (B, T) but the last.

    ids: token ids, int64.
    attention_mask: 1 where there is a token to attend to, 0 elsewhere, such as on padding.
    loss_mask: True where a token carries loss.
    predictors: int64 (n,), positions in the flattened batch (B * T) whose next token carries loss.
        They are counted on the CPU, for a GPU would make the host wait for their number.
    """

    ids: torch.Tensor
    attention_mask: torch.Tensor
    loss_mask: torch.Tensor
    predictors: torch.Tensor


class PaddedPrompts(NamedTuple):
    """Left-padded prompts, each tensor (B, T), for generation; see PaddedRows."""

    ids: torch.Tensor
    attention_mask: torch.Tensor


def by_length(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Indices of `lengths` (in tokens) in batches, longest first, ties by index; each index once.

    A row longer than `token_budget` is a batch of its own. Raises WagleError for a budget below 1.
    """
    if token_budget < 1:
        raise WagleError(f"token budget {token_budget}", "at least 1")
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batches: list[list[int]] = []
    for index in order:
        current = batches[-1] if batches else None
        full = current is None or (len(current) + 1) * lengths[current[0]] > token_budget
        if full:
            batches.append([index])
        else:
            current.append(index)
    return batches


def batches_by_process(
    lengths: Sequence[int], token_budget: int, processes: int
) -> list[list[list[int]]]:
    """The batches of each of `processes` processes; every row is in one batch of one process.

    Several processes with one sharded model must make each pass together. Each therefore has
    equally many batches, and the last ones of some may be empty.

    Raises WagleError as by_length() does.
    """
    longest_first = [batch[0] for batch in by_length(lengths, 1)]
    result = []
    for rank in range(processes):
        rows = longest_first[rank::processes]
        local_batches = by_length([lengths[i] for i in rows], token_budget)
        result.append([[rows[i] for i in batch] for batch in local_batches])
    batch_count = max(map(len, result))
    return [batches + [[]] * (batch_count - len(batches)) for batches in result]


def collate(rows: Sequence[Encoded], pad_id: int, device="cpu") -> PaddedRows:
    """`rows` as one right-padded batch on `device`."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    attention_mask = torch.zeros((len(rows), width), dtype=torch.long)
    loss_mask = torch.zeros((len(rows), width), dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row.ids)
        attention_mask[i, : len(row) if row.attended is None else row.attended] = 1
        loss_mask[i, row.start : len(row)] = True
    predictors = torch.cat(
        [
            i * width + torch.arange(max(1, row.start) - 1, max(1, len(row)) - 1)
            for i, row in enumerate(rows)
        ]
    )
    tensors = (ids, attention_mask, loss_mask, predictors)
    return PaddedRows(*(tensor.to(device) for tensor in tensors))


def collate_left(prompts: Sequence[Sequence[int]], pad_id: int, device="cpu") -> PaddedPrompts:
    """The token ids `prompts` as one left-padded batch on `device`."""
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad_id, dtype=torch.long)
    attention_mask = torch.zeros((len(prompts), width), dtype=torch.long)
    for i, prompt in enumerate(prompts):
        ids[i, width - len(prompt) :] = torch.tensor(prompt)
        attention_mask[i, width - len(prompt) :] = 1
    return PaddedPrompts(ids.to(device), attention_mask.to(device))
