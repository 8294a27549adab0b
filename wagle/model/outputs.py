"""What a model says of answers: losses of rows and tokens, logits, hidden states; one forward pass.

Objectives are made of these. Numbers of tokens stand one after the other, row by row, without
padding: n tokens in all. `RowOutputs.mean_over_tokens()` leads from tokens to rows.

Notable: only positions that carry loss go through the output head, by a hook on its input. Hidden
states come from a hook on a transformer block, so the model's family does not matter.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from wagle.data.batching import collate
from wagle.data.prompts import Encoded
from wagle.errors import WagleError
from wagle.model.checkpointing import blocks


@dataclass(frozen=True)
class RowOutputs:
    """Outputs for the answers of B rows, which have n tokens in all.

    mean, sum: cross-entropy of each answer in nats, over its tokens, (B,). tokens: their number.
    positions: True at the places that predict an answer's token, (B, T).
    labels: the answers' tokens, int64, (n,). token_losses: their cross-entropies in nats, (n,).
    logits: of the places that predict them, (n, V), where they are asked for.
    hidden: output of a block at the answers' own tokens, (n, D), where it is asked for.
    tokens_per_row: mean number of answer tokens of the rows of this kind in the whole step.
    reference: the same outputs of the model before unlearning, where they are asked for.
    refusal: outputs for the same questions with a refusal as answer, where they are asked for.
    """

    mean: torch.Tensor
    sum: torch.Tensor
    tokens: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor
    token_losses: torch.Tensor
    logits: torch.Tensor | None = None
    hidden: torch.Tensor | None = None
    tokens_per_row: float | None = None
    reference: "RowOutputs | None" = None
    refusal: "RowOutputs | None" = None

    def rows(self, part: slice) -> "RowOutputs":
        """The outputs of some rows that follow each other."""
        first, end, _ = part.indices(len(self.tokens))
        start = int(self.tokens[:first].sum())
        tokens = slice(start, start + int(self.tokens[first:end].sum()))

        def cut(values, index):
            return None if values is None else values[index]

        return dataclasses.replace(
            self,
            **{name: cut(getattr(self, name), part) for name in ROW_FIELDS},
            **{name: cut(getattr(self, name), tokens) for name in TOKEN_FIELDS},
        )

    def sum_over_tokens(self, values: torch.Tensor) -> torch.Tensor:
        """Sums (B,) of each row's part of `values` (n,)."""
        padded = values.new_zeros(self.positions.shape).masked_scatter(self.positions, values)
        return padded.sum(1)

    def mean_over_tokens(
        self, values: torch.Tensor, where: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Means (B,) of each row's part of `values` (n,).

        where: only tokens under a True count, (n,). A row without any has mean 0.
        """
        if where is None:
            return self.sum_over_tokens(values) / self.tokens
        counted = self.sum_over_tokens(where.to(values.dtype))
        return self.sum_over_tokens(values * where) / counted.clamp_min(1)

    def average(self, values: torch.Tensor, over: str) -> torch.Tensor:
        """Terms (B,) whose mean over the step's rows is an average of `values` (n,).

        over: `row` averages over each row's tokens first. `batch` averages over all tokens of the
            step's rows of this kind, so a long answer counts more.

        Raises WagleError for another word.
        """
        if over not in ("row", "batch"):
            raise WagleError(f"average {over!r}", "'row' or 'batch'")
        if over == "row":
            return self.mean_over_tokens(values)
        return self.sum_over_tokens(values) / self.tokens_per_row

    def numbers_in_row(self) -> torch.Tensor:
        """The number of each token in its answer, from 0, (n,)."""
        return (self.positions.cumsum(1) - 1)[self.positions]


ROW_FIELDS = ("mean", "sum", "tokens", "positions")
TOKEN_FIELDS = ("labels", "token_losses", "logits", "hidden")


def row_outputs(
    model, rows: list[Encoded], pad_id: int, *, logits: bool = False, layer: int | None = None
) -> RowOutputs:
    """The outputs of `model` for `rows`, from one forward pass.

    Logits and hidden states are cast to fp32 (or stay in fp64).

    logits: whether to keep them. layer: whose output is `hidden`; blocks are counted from 0.

    Raises WagleError for a layer that the model does not have.
    """
    batch = collate(rows, pad_id, model.device)
    # (B, T-1): positions whose next token carries loss; n of them in all
    positions = batch.loss_mask[:, 1:]
    predictors = batch.predictors  # the same, as n places in the flattened batch
    with (
        _output_head_at(model, batch.ids.shape, predictors),
        _output_of_block(model, layer) as block_outputs,
    ):
        values = model(
            input_ids=batch.ids, attention_mask=batch.attention_mask, use_cache=False
        ).logits
    if values.shape[:2] == (1, len(predictors)):
        values = values[0]  # (n, V)
    else:
        values = values.flatten(0, 1).index_select(0, predictors)  # (n, V)
    values = _at_least_fp32(values)
    labels = batch.ids.flatten().index_select(0, predictors + 1)  # (n,)
    token_losses = torch.nn.functional.cross_entropy(values, labels, reduction="none")  # (n,)
    by_position = token_losses.new_zeros(batch.ids.numel()).index_copy(0, predictors, token_losses)
    total = by_position.view(batch.ids.shape)[:, :-1].sum(1)
    count = positions.sum(1)
    return RowOutputs(
        mean=total / count,
        sum=total,
        tokens=count,
        positions=positions,
        labels=labels,
        token_losses=token_losses,
        logits=values if logits else None,
        # no first token of a row carries loss, so these are n tokens too
        hidden=_at_least_fp32(block_outputs[0][batch.loss_mask]) if block_outputs else None,
    )


def _at_least_fp32(values: torch.Tensor) -> torch.Tensor:
    return values if values.dtype == torch.float64 else values.float()


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


@contextlib.contextmanager
def _output_of_block(model, layer: int | None) -> Iterator[list[torch.Tensor]]:
    """A list that gets the hidden states (B, T, D) after block `layer` inside the `with` block."""
    outputs: list[torch.Tensor] = []
    if layer is None:
        yield outputs
        return
    model_blocks = blocks(model)
    if not 0 <= layer < len(model_blocks):
        raise WagleError(
            f"layer {layer} of a model with {len(model_blocks)} blocks",
            f"0 to {len(model_blocks) - 1}",
        )

    def keep(_, args, output):
        outputs.append(output[0] if isinstance(output, tuple) else output)

    handle = model_blocks[layer].register_forward_hook(keep)
    try:
        yield outputs
    finally:
        handle.remove()
