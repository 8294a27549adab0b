"""Batches by length under a token budget, and their collation.

Padding costs what it multiplies, so texts of like length go together: a batch's rows times its longest row stay under
`token_budget`. The partition is a deterministic function of the lengths; results that are sums over rows do not depend on it.
"""

from collections.abc import Sequence

import torch

from wagle.data.prompts import Encoded
from wagle.errors import WagleError


def by_length(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Indices of `lengths` in batches, longest first, ties by index; each index once.

    A row longer than the budget is a batch of its own. Raises WagleError for a budget below 1.
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


def shares(lengths: Sequence[int], token_budget: int, processes: int) -> list[list[list[int]]]:
    """For each process its batches; every row in one batch of one process, and as many batches for each, if need be empty ones.

    Several processes with one sharded model must make each pass together. Raises WagleError as by_length does.
    """
    order = [batch[0] for batch in by_length(lengths, 1)]  # longest first, one by one
    own = [order[first::processes] for first in range(processes)]
    cut = [
        [[rows[i] for i in batch] for batch in by_length([lengths[i] for i in rows], token_budget)]
        for rows in own
    ]
    most = max(map(len, cut))
    return [batches + [[]] * (most - len(batches)) for batches in cut]


def collate(
    rows: Sequence[Encoded], pad_id: int, device="cpu"
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Right-padded ids (B, T), attention mask (B, T) and span mask (B, T): True where a token carries loss."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    attention = torch.zeros((len(rows), width), dtype=torch.long)
    span = torch.zeros((len(rows), width), dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row.ids)
        attention[i, : len(row)] = 1
        span[i, row.start : len(row)] = True
    return ids.to(device), attention.to(device), span.to(device)


def collate_left(
    prompts: Sequence[Sequence[int]], pad_id: int, device="cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Left-padded ids (B, T) and attention mask (B, T), for generation."""
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad_id, dtype=torch.long)
    attention = torch.zeros((len(prompts), width), dtype=torch.long)
    for i, prompt in enumerate(prompts):
        ids[i, width - len(prompt) :] = torch.tensor(prompt)
        attention[i, width - len(prompt) :] = 1
    return ids.to(device), attention.to(device)
