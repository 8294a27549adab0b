"""What tasks build their metrics from: benchmarks.json and generations.jsonl of one model.

A metric is {value, se, n} and, where it is a mean over rows, `rows`; an average of metrics has
`parts`, a set of rows -> values (wagle/evaluation/cell_values.py). Each task's own formulas lie
in wagle/tasks/. Notable: a benchmark that the experiment does not run has no metric, so its table
cell stays blank.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from wagle.errors import WagleError


def prompts(splits: dict[str, list[dict]], roles: list[str], limit: int | None) -> list[dict]:
    """What is generated: {split, row, question, answer} of the first `limit` rows of each role."""
    entries = []
    for role in roles:
        for number, row in enumerate(splits[role][:limit]):
            answer = row["choices"][row["answer"]] if "choices" in row else row.get("answer", "")
            question = row.get("question", row.get("text"))
            entries.append({"split": role, "row": number, "question": question, "answer": answer})
    return entries


def mean(values) -> dict:
    """{value, se, n, rows} of per-row values. Raises WagleError for none, or for NaN."""
    values = np.asarray(values, dtype=np.float64)
    if not len(values) or not np.isfinite(values).all():
        raise WagleError(
            f"{len(values)} per-row values, some not finite", "at least one, all finite"
        )
    se = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
    return {"value": float(values.mean()), "se": se, "n": len(values), "rows": values.tolist()}


def average(metrics: Mapping[str, dict]) -> dict:
    """Plain mean of metrics over disjoint rows: standard errors add in squares.

    Its parts are the metrics' rows, or the bare value of a metric whose rows were not kept.
    """
    entries, count = list(metrics.values()), len(metrics)
    errors = [entry["se"] for entry in entries]
    se = None if None in errors else math.sqrt(sum(x * x for x in errors)) / count
    value = sum(entry["value"] for entry in entries) / count
    parts = {
        name: [x / count for x in entry.get("rows", [entry["value"]])]
        for name, entry in metrics.items()
    }
    return {"value": value, "se": se, "n": min(e["n"] for e in entries), "parts": parts}


def one_minus(metric: dict) -> dict:
    """The metric 1 - x, per row too."""
    rows = {"rows": [1 - x for x in metric["rows"]]} if "rows" in metric else {}
    return metric | {"value": 1 - metric["value"]} | rows


def answers_of(generations: list[dict], split: str) -> list[dict]:
    return [entry for entry in generations if entry["split"] == split]


def harness_accuracies(benchmarks: dict) -> dict[str, dict]:
    """Accuracy by harness task, from its rows where they were kept."""
    return {
        name: mean(entry["rows"])
        if entry["rows"]
        else {"value": entry["acc"], "se": entry["acc_stderr"], "n": entry["n"]}
        for name, entry in benchmarks.get("harness", {}).items()
        if name != "harness" and "acc" in entry
    }


def word_perplexity(entry: dict) -> dict:
    """{value, se, n} of the harness's perplexity per word, over n documents.

    The error is the delta method's, of a ratio of sums over documents: log-likelihoods and words.
    """
    loss, words = np.array(entry["rows"], dtype=np.float64).T
    value, n = entry["word_perplexity"], len(words)
    spread = loss - words * loss.sum() / words.sum()
    se = value * math.sqrt(n / (n - 1) * (spread**2).sum()) / words.sum() if n > 1 else None
    return {"value": value, "se": se, "n": n}


def with_efficacy_average(result: dict[str, dict], efficacy: Sequence[str]) -> dict[str, dict]:
    """`result` with UE Avg, the mean of those of `efficacy` that it has.

    Raises WagleError when it has none of them.
    """
    parts = {name: result[name] for name in efficacy if name in result}
    if not parts:
        raise WagleError(f"the model has none of {', '.join(efficacy)}", "at least one of them")
    return result | {"UE Avg": average(parts)}


def general_utility(benchmarks: dict) -> dict[str, dict]:
    """TruthfulQA, `zero-shot Acc` (mean of the other tasks) and WikiText's perplexity per word."""
    accuracy, result = harness_accuracies(benchmarks), {}
    texts = benchmarks.get("harness", {}).get("wikitext")
    if "truthfulqa_mc1" in accuracy:
        result["TruthfulQA"] = accuracy.pop("truthfulqa_mc1")
    if accuracy:
        result["zero-shot Acc"] = average(accuracy)
    if texts:
        result["WikiText PPL"] = word_perplexity(texts)
    return result
