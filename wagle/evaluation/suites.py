"""What tasks build their metrics from: benchmarks.json and generations.jsonl of one model.

A metric is {value, se, n} and, where it is a mean over rows, `rows`. Each task's own formulas lie
in wagle/tasks/. Notable: a benchmark that the experiment does not run has no metric, so its table
cell stays blank.
"""

import math
from collections.abc import Sequence

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


def average(parts: list[dict]) -> dict:
    """Plain mean of metrics over disjoint rows: standard errors add in squares."""
    errors = [part["se"] for part in parts]
    se = None if None in errors else math.sqrt(sum(x * x for x in errors)) / len(parts)
    value = sum(part["value"] for part in parts) / len(parts)
    return {"value": value, "se": se, "n": min(part["n"] for part in parts)}


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
    parts = [result[name] for name in efficacy if name in result]
    if not parts:
        raise WagleError(f"the model has none of {', '.join(efficacy)}", "at least one of them")
    return result | {"UE Avg": average(parts)}


def general_utility(benchmarks: dict) -> dict[str, dict]:
    """TruthfulQA, `zero-shot Acc` (plain mean of the other harness tasks) and WikiText's word perplexity."""
    accuracy, result = harness_accuracies(benchmarks), {}
    texts = benchmarks.get("harness", {}).get("wikitext")
    if "truthfulqa_mc1" in accuracy:
        result["TruthfulQA"] = accuracy.pop("truthfulqa_mc1")
    if accuracy:
        result["zero-shot Acc"] = average(list(accuracy.values()))
    if texts:
        result["WikiText PPL"] = word_perplexity(texts)
    return result
