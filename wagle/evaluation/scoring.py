"""The scoring log: per-token log-probabilities, one forward pass per (model, text).

Every metric is computed from the log later. `tokens.parquet` has one row per predicted token, BOS
excluded, in order of text and position:

    split, row, role     which text; role is answer | paraphrased | perturbed<k>, with @paraphrased
                         where the question is the paraphrased one
    token_id, log_prob   the token and its log-probability in nats (fp32)
    argmax_hit           the model's most likely token is this one
    in_span, is_eos      the token carries loss; it is the closing EOS
    answer_zlib          compressed size of the text's answer in bytes (zlib attack)
    mean, std            mean and standard deviation of the log-probabilities over the vocabulary
                         at this position, under the model's own distribution (Min-K%++)

The file's metadata hold the template, for a log's numbers mean nothing without it.

Notable: logits are cast to fp32 before the log-softmax. Left out: metrics (metrics.py).
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from wagle.data.batching import by_length, collate
from wagle.data.encoding import encode_text
from wagle.data.prompts import Encoded, encode
from wagle.errors import WagleError
from wagle.runtime.files import TO_MAKE_AGAIN

TEMPLATE = b"wagle.template"  # key of the file's metadata


class ScoredText(NamedTuple):
    """One question and answer whose tokens are scored; `row` counts within its split.

    A raw text has no question, and all of its tokens but the first are scored.
    """

    split: str
    row: int
    role: str
    question: str | None
    answer: str


def texts(splits: dict[str, list[dict]], questions: tuple[str, ...]) -> Iterator[ScoredText]:
    """Every text that the metrics need.

    `questions` says under which question paraphrased and perturbed answers are scored: "original",
    "paraphrased" or both.
    """
    for split, rows in splits.items():
        for number, row in enumerate(rows):
            if "text" in row:
                yield ScoredText(split, number, "answer", None, row["text"])
                continue
            yield ScoredText(split, number, "answer", row["question"], row["answer"])
            for kind in questions:
                if kind == "paraphrased" and "paraphrased_question" not in row:
                    kind = "original"
                    if "original" in questions:
                        continue
                question = row["paraphrased_question" if kind == "paraphrased" else "question"]
                tag = "@paraphrased" if kind == "paraphrased" else ""
                if "paraphrased_answer" in row:
                    answer = row["paraphrased_answer"]
                    yield ScoredText(split, number, f"paraphrased{tag}", question, answer)
                for k, answer in enumerate(row.get("perturbed_answer", [])):
                    yield ScoredText(split, number, f"perturbed{k}{tag}", question, answer)


@torch.no_grad()
def token_scores(
    model, rows: list[Encoded], pad_id: int, token_budget: int
) -> list[dict[str, np.ndarray]]:
    """The log's columns from token_id on: for each row, arrays over its tokens (len(row) - 1,).

    A batch has at most `token_budget` tokens, padding included. Raises WagleError when a
    log-probability is not finite.
    """
    result: list[dict[str, np.ndarray]] = [{}] * len(rows)
    for batch in by_length([len(row) for row in rows], token_budget):
        padded = collate([rows[i] for i in batch], pad_id, model.device)
        logits = model(
            input_ids=padded.ids, attention_mask=padded.attention_mask, use_cache=False
        ).logits  # (B, T, V)
        lengths = [len(rows[i]) - 1 for i in batch]
        scores = [
            statistics(logits[position, :n].float(), padded.ids[position, 1 : n + 1])
            for position, n in enumerate(lengths)
        ]
        # one array a batch: each copy to the host waits for the GPU
        by_text = torch.cat(scores, dim=1).cpu().split(lengths, dim=1)
        for i, values in zip(batch, by_text, strict=True):
            log_prob, argmax_hit, mean, std = values.numpy()
            columns = {
                "token_id": np.array(rows[i].ids[1:], dtype=np.int32),
                "log_prob": log_prob,
                "argmax_hit": argmax_hit.astype(bool),
                "in_span": np.arange(1, len(rows[i])) >= rows[i].start,
                "mean": mean,
                "std": std,
            }
            if not np.isfinite(columns["log_prob"]).all():
                raise WagleError(
                    f"text {i} has a log-probability that is NaN or Inf",
                    "a model with finite logits",
                )
            eos = np.zeros(len(rows[i]) - 1, bool)
            eos[-1] = rows[i].ends_with_eos
            result[i] = columns | {"is_eos": eos}
    return result


def statistics(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The log's columns log_prob, argmax_hit, mean and std, (4, n), from (n, V) and (n,)."""
    logp = torch.log_softmax(logits, dim=-1)
    p = logp.exp()
    mean = (p * logp).sum(-1)
    variance = (p * (logp - mean[:, None]).square()).sum(-1)
    log_prob = logp.gather(-1, labels[:, None])[:, 0]
    hits = (logp.argmax(-1) == labels).to(logp.dtype)
    return torch.stack([log_prob, hits, mean, variance.sqrt()])


def score(
    model,
    tokenizer,
    splits: dict[str, list[dict]],
    *,
    template: str,
    max_length: int,
    token_budget: int,
    questions: tuple[str, ...] = ("original", "paraphrased"),
) -> dict[str, np.ndarray]:
    """The log of all texts as columns. Independent of `token_budget` up to fp32 rounding."""
    index = list(texts(splits, questions))
    rows = [
        encode_text(tokenizer, text.answer, max_length)
        if text.question is None
        else encode(tokenizer, template, text.question, text.answer, max_length)
        for text in index
    ]
    scored = token_scores(model, rows, tokenizer.pad_token_id, token_budget)
    lengths = [len(row) - 1 for row in rows]
    sizes = [len(zlib.compress(text.answer.encode("utf-8"))) for text in index]
    per_text = {
        "split": np.array([text.split for text in index], dtype=object),
        "row": np.array([text.row for text in index], dtype=np.int32),
        "role": np.array([text.role for text in index], dtype=object),
        "answer_zlib": np.array(sizes, dtype=np.int32),
    }
    log = {name: np.repeat(values, lengths) for name, values in per_text.items()}
    for name in ("token_id", "log_prob", "argmax_hit", "in_span", "is_eos", "mean", "std"):
        log[name] = np.concatenate([columns[name] for columns in scored])
    return log


def write_log(path: str | Path, log: dict[str, np.ndarray], template: str) -> None:
    """Write the log, and the template that its texts were scored in, as Parquet.

    Columns of texts are dictionary-encoded.
    """
    import pyarrow
    from pyarrow import parquet

    columns = {name: pyarrow.array(values) for name, values in log.items()}
    for name, values in log.items():
        if values.dtype == object:
            columns[name] = columns[name].dictionary_encode()
    table = pyarrow.table(columns, metadata={TEMPLATE: template.encode("utf-8")})
    parquet.write_table(table, path, compression="zstd")


COLUMN_KINDS = {  # numpy's dtype.kind of the columns that metrics read
    "split": "O",
    "role": "O",
    "row": "i",
    "log_prob": "f",
    "argmax_hit": "b",
    "in_span": "b",
    "is_eos": "b",
}


def log_template(path: str | Path) -> str:
    """The template that a scoring log was made in. Raises WagleError when the file names none."""
    import pyarrow
    from pyarrow import parquet

    try:
        metadata = parquet.read_schema(path).metadata or {}
        if TEMPLATE in metadata:
            return metadata[TEMPLATE].decode("utf-8")
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError, OverflowError) as error:
        raise WagleError(f"{path} is not a scoring log: {error}", do=TO_MAKE_AGAIN) from None
    raise WagleError(f"{path} names no template", "a scoring log with its template", TO_MAKE_AGAIN)


def read_log(path: str | Path, template: str | None = None) -> dict[str, np.ndarray]:
    """Columns of a scoring log.

    template: the one that the reader's protocol needs; None where the reader compares no scores.

    Raises WagleError when the file is not a log, or was scored in another template.
    """
    import pyarrow
    from pyarrow import parquet

    if template is not None and (own := log_template(path)) != template:
        raise WagleError(
            f"{path} was scored in the template {own!r}",
            f"{template!r}, in which the protocol's scores are defined",
            "score the model in this template (evaluation.templates)",
        )
    try:
        with parquet.ParquetFile(path) as file:
            n_rows = file.metadata.num_rows
            # A real log has some bytes a row. A file that claims far more would fill the memory.
            if n_rows > 4096 * Path(path).stat().st_size:
                raise WagleError(f"{path} claims {n_rows} rows", "a scoring log", TO_MAKE_AGAIN)
            table = file.read()
        columns = {name: table.column(name).to_numpy() for name in table.column_names}
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError, OverflowError) as error:
        raise WagleError(f"{path} is not a scoring log: {error}", do=TO_MAKE_AGAIN) from None
    missing = COLUMN_KINDS.keys() - set(columns)
    if missing:
        raise WagleError(f"{path} lacks the columns {', '.join(sorted(missing))}")
    mistyped = [name for name, kind in COLUMN_KINDS.items() if columns[name].dtype.kind != kind]
    if mistyped:
        raise WagleError(
            f"{path}: the values of {', '.join(mistyped)} are of another type",
            "a scoring log",
            TO_MAKE_AGAIN,
        )
    return columns
