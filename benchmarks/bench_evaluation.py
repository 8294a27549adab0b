"""Evaluation: one scoring pass and sorted batches against the naive path, in one run.

Both paths have the same model and rows. The naive path does as the official codes do: batch 1;
every text padded to 512 tokens; one pass each for probabilities, truth ratios, MIA and
memorization; one generate call a prompt; one embedding call a string. Prints the time ratio, both
peaks of memory and the largest difference of any metric.

    results=results/tofu-smollm2-cpu
    python benchmarks/bench_evaluation.py --model $results/models/target/checkpoint \
        --embedder $results/models/embedder/model --data $results/data --rows 8
"""

import argparse
import json
import os
import resource
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from bench import child, report

from wagle.data.prompts import encode, encode_prompt
from wagle.data.rows import read_rows
from wagle.evaluation import generation, protocols, scoring
from wagle.model import checkpoints, embedding

SPLITS = ("forget_perturbed", "retain_perturbed", "real_authors", "world_facts")
QUESTIONS = ("original", "paraphrased")
PAD_TO, NEW_TOKENS = 512, 64


def naive_scores(model, tokenizer, splits, template):
    """The scoring log from batch-1 passes padded to 512."""
    index = list(scoring.texts(splits, QUESTIONS))
    columns = []
    for text in index:
        row = encode(tokenizer, template, text.question, text.answer, PAD_TO)
        # Probability, MIA and memorization each forward the answer.
        for _ in range(3 if text.role == "answer" else 1):
            scores = padded(model, row, tokenizer.pad_token_id)
        columns.append(scores)
    lengths = [len(column["log_prob"]) for column in columns]
    log = {
        "split": np.repeat(np.array([text.split for text in index], dtype=object), lengths),
        "row": np.repeat(np.array([text.row for text in index], dtype=np.int32), lengths),
        "role": np.repeat(np.array([text.role for text in index], dtype=object), lengths),
    }
    return log | {name: np.concatenate([column[name] for column in columns]) for name in columns[0]}


def padded(model, row, pad_id):
    """Token scores of one text padded to 512."""
    n = len(row)
    ids = torch.full((1, PAD_TO), pad_id)
    ids[0, :n] = torch.tensor(row.ids)
    attention = (torch.arange(PAD_TO) < n).long()[None]
    logits = model(input_ids=ids, attention_mask=attention).logits[0, : n - 1].float()
    logp = torch.log_softmax(logits, -1)
    labels = ids[0, 1:n]
    inside, eos = np.arange(1, n) >= row.start, np.zeros(n - 1, bool)
    eos[-1] = row.ends_with_eos
    values = {
        "log_prob": logp.gather(-1, labels[:, None])[:, 0],
        "argmax_hit": logp.argmax(-1) == labels,
    }
    arrays = {name: value.numpy() for name, value in values.items()}
    return arrays | {"in_span": inside, "is_eos": eos}


def naive_answers(model, tokenizer, questions, template):
    result = []
    for question in questions:
        ids = torch.tensor([encode_prompt(tokenizer, template, question)])
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        result.append(tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True).strip())
    return result


def naive_similarities(entries, embedder):
    for entry in entries:
        if "candidates" in entry:
            [answer] = embedder.encode(
                [entry["generated"]], normalize_embeddings=True, show_progress_bar=False
            )
            texts = entry.pop("candidates")
            vectors = [
                embedder.encode([text], normalize_embeddings=True, show_progress_bar=False)[0]
                for text in texts
            ]
            entry["similarities"] = [float(vector @ answer) for vector in vectors]


@torch.no_grad()
def measure(options) -> dict:
    torch.set_num_threads(os.cpu_count())
    splits = {s: read_rows(Path(options.data) / s / "rows.jsonl")[: options.rows] for s in SPLITS}
    model, tokenizer = checkpoints.load(options.model), checkpoints.load_tokenizer(options.model)
    embedder = embedding.load(options.embedder)
    template, naive = options.template.replace("\\n", "\n"), options.path == "naive"
    started = time.perf_counter()
    if naive:
        log = naive_scores(model, tokenizer, splits, template)
    else:
        log = scoring.score(
            model,
            tokenizer,
            splits,
            template=template,
            max_length=PAD_TO,
            token_budget=2048,
            questions=QUESTIONS,
        )
    scored = time.perf_counter()
    entries = generation.tasks(splits)
    questions = [entry["question"] for entry in entries]
    if naive:
        texts = naive_answers(model, tokenizer, questions, template)
    else:
        texts = generation.answers(
            model,
            tokenizer,
            questions,
            template=template,
            max_new_tokens=NEW_TOKENS,
            token_budget=8192,
        )
    for entry, text in zip(entries, texts, strict=True):
        entry["generated"] = text
    generated = time.perf_counter()
    if naive:
        naive_similarities(entries, embedder)
    else:
        candidates = [text for entry in entries for text in entry.get("candidates", [])]
        embedding.add_similarities(entries, embedder, embedding.embed(embedder, candidates))
    ended = time.perf_counter()
    metrics = {
        name: protocols.without_rows(protocols.evaluate(name, log, entries, log))
        for name in protocols.PROTOCOLS
    }
    return {
        "scoring_s": scored - started,
        "generation_s": generated - scored,
        "embedding_s": ended - generated,
        "total_s": ended - started,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "metrics": {
            f"{protocol} {metric}": entry["value"]
            for protocol, entries_by_metric in metrics.items()
            for metric, entry in entries_by_metric.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("model", "embedder", "data"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rows", type=int, default=8, help="rows of each split")
    parser.add_argument("--template", default="Question: {question}\\nAnswer: {answer}")
    parser.add_argument(
        "--path", choices=("naive", "ours"), help="measure one path only (used by the run itself)"
    )
    options = parser.parse_args()
    if options.path:
        print(json.dumps(measure(options)))
        return
    shared = [
        x
        for n in ("model", "embedder", "data", "rows", "template")
        for x in (f"--{n}", str(getattr(options, n)))
    ]
    ours, naive = (child(__file__, *shared, "--path", path) for path in ("ours", "naive"))
    for measure_name in ("scoring_s", "generation_s", "embedding_s", "total_s", "peak_mb"):
        before, after = naive[measure_name], ours[measure_name]
        ratio = before / after
        print(f"{measure_name:13s} naive {before:8.1f}   ours {after:8.1f}   ratio {ratio:6.2f}")
    differences = {
        name: abs(value - ours["metrics"][name]) for name, value in naive["metrics"].items()
    }
    worst = max(differences, key=differences.get)
    print(f"largest difference of {len(differences)} metrics: {differences[worst]:.2e} ({worst})")
    ratio = naive["total_s"] / ours["total_s"]
    report(
        "evaluation: naive time / ours",
        ratio,
        "x",
        "at least 8",
        ratio >= 8,
        "the model's forward passes",
    )
    report(
        "evaluation: largest metric difference",
        differences[worst],
        "",
        "at most 1e-4",
        differences[worst] <= 1e-4,
        "fp32 rounding",
    )


if __name__ == "__main__":
    main()
