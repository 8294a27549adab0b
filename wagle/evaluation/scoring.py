"""One forward pass per (model, text): per-token log-probabilities, from which every metric is computed later.

Rows of the log (`tokens.parquet`), one per predicted token, BOS excluded, in order of text and position:

    split, row, role     which text; role is answer | paraphrased | perturbed<k>, with @paraphrased where the question is
                         the paraphrased one
    token_id, log_prob   the token and its log-probability in nats (fp32)
    argmax_hit           the model's most likely token is this one
    in_span, is_eos      the token carries loss; it is the closing EOS
    answer_zlib          compressed size of the text's answer in bytes (zlib attack)
    mean, std            mean and standard deviation of the log-probabilities over the vocabulary at this position, under the
                         model's own distribution (Min-K%++)

The file's metadata hold the template, for a log's numbers mean nothing without it.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from wagle.data.batching import by_length, collate
from wagle.data.prompts import Encoded, encode
from wagle.errors import WagleError

FLOATS = ("log_prob", "mean", "std")
TEMPLATE = b"wagle.template"  # key of the file's metadata


def texts(
    splits: dict[str, list[dict]], questions: tuple[str, ...]
) -> Iterator[tuple[str, int, str, str, str]]:
    """(split, row, role, question, answer) for every text that the metrics need.

    `questions` says under which question paraphrased and perturbed answers are scored: "original", "paraphrased" or both.
    """
    for split, rows in splits.items():
        for number, row in enumerate(rows):
            yield split, number, "answer", row["question"], row["answer"]
            for kind in questions:
                if kind == "paraphrased" and "paraphrased_question" not in row:
                    kind = "original"
                    if "original" in questions:
                        continue
                asked = row["paraphrased_question"] if kind == "paraphrased" else row["question"]
                tag = "@paraphrased" if kind == "paraphrased" else ""
                if "paraphrased_answer" in row:
                    yield split, number, f"paraphrased{tag}", asked, row["paraphrased_answer"]
                for k, answer in enumerate(row.get("perturbed_answer", [])):
                    yield split, number, f"perturbed{k}{tag}", asked, answer


@torch.no_grad()
def token_scores(
    model, rows: list[Encoded], pad_id: int, token_budget: int
) -> list[dict[str, np.ndarray]]:
    """For each row, arrays over its predicted tokens (len(row) - 1,): the log's columns from token_id on.

    Logits are cast to fp32 before the log-softmax. Raises WagleError when a log-probability is not finite.
    """
    result: list[dict[str, np.ndarray]] = [{}] * len(rows)
    for batch in by_length([len(row) for row in rows], token_budget):
        ids, attention, span = collate([rows[i] for i in batch], pad_id, model.device)
        logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits  # (B, T, V)
        for position, i in enumerate(batch):
            n = len(rows[i])
            logp = torch.log_softmax(logits[position, : n - 1].float(), dim=-1)  # (n-1, V)
            labels = ids[position, 1:n]
            p = logp.exp()
            mean = (p * logp).sum(-1)
            variance = (p * (logp - mean[:, None]).square()).sum(-1)
            columns = {
                "token_id": labels.int(),
                "log_prob": logp.gather(-1, labels[:, None])[:, 0],
                "argmax_hit": logp.argmax(-1) == labels,
                "in_span": span[position, 1:n],
                "mean": mean,
                "std": variance.sqrt(),
            }
            columns = {name: value.cpu().numpy() for name, value in columns.items()}
            if not np.isfinite(columns["log_prob"]).all():
                raise WagleError(
                    f"text {i} has a log-probability that is NaN or Inf",
                    "a model with finite logits",
                )
            eos = np.zeros(n - 1, bool)
            eos[-1] = rows[i].ends_with_eos
            result[i] = columns | {"is_eos": eos}
    return result


def score(model, tokenizer, splits: dict[str, list[dict]], *, template: str, max_length: int, token_budget: int,
          questions: tuple[str, ...] = ("original", "paraphrased")) -> dict[str, np.ndarray]:  # fmt: skip
    """The log of all texts as columns. Independent of `token_budget` up to fp32 rounding."""
    index = list(texts(splits, questions))
    rows = [
        encode(tokenizer, template, question, answer, max_length) for *_, question, answer in index
    ]
    scored = token_scores(model, rows, tokenizer.pad_token_id, token_budget)
    lengths = [len(row) - 1 for row in rows]
    log = {
        "split": np.repeat(np.array([entry[0] for entry in index], dtype=object), lengths),
        "row": np.repeat(np.array([entry[1] for entry in index], dtype=np.int32), lengths),
        "role": np.repeat(np.array([entry[2] for entry in index], dtype=object), lengths),
        "answer_zlib": np.repeat(
            np.array(
                [len(zlib.compress(entry[4].encode("utf-8"))) for entry in index], dtype=np.int32
            ),
            lengths,
        ),
    }
    for name in ("token_id", "log_prob", "argmax_hit", "in_span", "is_eos", "mean", "std"):
        log[name] = np.concatenate([columns[name] for columns in scored])
    return log


def write_log(path: str | Path, log: dict[str, np.ndarray], template: str) -> None:
    """Write a log and the template that its texts were scored in."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        n: pa.array(v).dictionary_encode() if v.dtype == object else pa.array(v)
        for n, v in log.items()
    }
    table = pa.table(columns, metadata={TEMPLATE: template.encode("utf-8")})
    pq.write_table(table, path, compression="zstd")


AGAIN = "delete it; its job then runs again"
KINDS = {
    "split": "O",
    "role": "O",
    "row": "i",
    "log_prob": "f",
    "argmax_hit": "b",
    "in_span": "b",
    "is_eos": "b",
}


def log_template(path: str | Path) -> str:
    """The template that a scoring log was made in. Raises WagleError when the file does not say."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
        if TEMPLATE in metadata:
            return metadata[TEMPLATE].decode("utf-8")
    except (OSError, pa.ArrowException, UnicodeDecodeError, OverflowError) as error:
        raise WagleError(f"{path} is not a scoring log: {error}", do=AGAIN) from None
    raise WagleError(f"{path} does not say in which template it was scored", "a scoring log", AGAIN)


def read_log(path: str | Path, template: str | None = None) -> dict[str, np.ndarray]:
    """Columns of a scoring log.

    template: the one that the reader's protocol needs; None where the reader compares no scores.

    Raises WagleError when the file is not a log, or was scored in another template.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if template is not None and (own := log_template(path)) != template:
        raise WagleError(
            f"{path} was scored in the template {own!r}",
            f"{template!r}, in which the protocol's scores are defined",
            "score the model in this template (evaluation.templates)",
        )
    try:
        with pq.ParquetFile(path) as file:
            if (
                file.metadata.num_rows > 4096 * Path(path).stat().st_size
            ):  # a bomb: a real log has some bytes a row
                raise WagleError(
                    f"{path} claims {file.metadata.num_rows} rows", "a scoring log", AGAIN
                )
            table = file.read()
        columns = {name: table.column(name).to_numpy() for name in table.column_names}
    except (OSError, pa.ArrowException, UnicodeDecodeError, OverflowError) as error:
        raise WagleError(f"{path} is not a scoring log: {error}", do=AGAIN) from None
    missing = KINDS.keys() - set(columns)
    if missing:
        raise WagleError(f"{path} lacks the columns {', '.join(sorted(missing))}")
    wrong = [name for name, kind in KINDS.items() if columns[name].dtype.kind != kind]
    if wrong:
        raise WagleError(
            f"{path}: the values of {', '.join(wrong)} are of another type", "a scoring log", AGAIN
        )
    return columns
