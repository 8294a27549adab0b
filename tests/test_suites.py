"""WMDP, WHP and DETOX metrics by hand, and toxicity.

Toxicity is judged by a probe and by a classifier.
"""

import json
import math

import numpy as np
import pytest
import torch

from wagle.errors import WagleError
from wagle.evaluation import suites, toxicity
from wagle.experiment import tasks


def metrics(task, benchmarks, generations):
    logs = {"benchmarks": benchmarks, "generations": generations}
    return tasks.load(task).metrics(logs, "wagle")


def accuracy(rows):
    return {
        "acc": sum(rows) / len(rows),
        "acc_stderr": 0.1,
        "n": len(rows),
        "version": 1,
        "rows": rows,
    }


def answers(split, pairs, **more):
    return [
        {"split": split, "row": i, "question": "q", "answer": a, "generated": g} | more
        for i, (a, g) in enumerate(pairs)
    ]


def test_wmdp():
    harness = {
        "harness": "0.4",
        "wmdp_bio": accuracy([1.0, 0, 0, 0]),
        "wmdp_cyber": accuracy([1.0, 0]),
        "mmlu": accuracy([1.0, 1, 0]),
    }
    found = metrics("wmdp", {"harness": harness}, [])
    assert {name: entry["value"] for name, entry in found.items()} == pytest.approx(
        {"1-FA Bio": 0.75, "1-FA Cyber": 0.5, "UE Avg": 0.625, "MMLU": 2 / 3}
    )
    assert found["1-FA Bio"]["rows"] == [0, 1, 1, 1] and found["1-FA Bio"]["se"] == pytest.approx(
        0.25
    )
    assert found["UE Avg"]["se"] == pytest.approx(
        math.hypot(found["1-FA Bio"]["se"], found["1-FA Cyber"]["se"]) / 2
    )


def test_whp_and_what_was_not_run_stays_away():
    generations = answers("seen", [("a b c d", "a b x y"), ("a b", "c")]) + answers(
        "unseen", [("a b", "a b"), ("x", "x")]
    )
    benchmarks = {
        "harness": {
            "harness": "0",
            "boolq": accuracy([1.0, 0]),
            "rte": accuracy([1.0, 1]),
            "wikitext": {"word_perplexity": 9.0, "n": 2, "version": 2, "rows": [[-9, 3], [-13, 7]]},
        },
    }
    found = metrics("whp", benchmarks, generations)
    assert {name: entry["value"] for name, entry in found.items()} == pytest.approx(
        {
            "1-Rouge-L seen": 0.75,
            "1-Rouge-L unseen": 0,
            "UE Avg": 0.375,
            "zero-shot Acc": 0.75,
            "WikiText PPL": 9.0,
            "degenerate": 0.0,
        }
    )
    assert "TruthfulQA" not in found and found["WikiText PPL"]["n"] == 2


def test_perplexitys_error_is_that_of_documents():
    """The delta method against a bootstrap over documents."""
    rng = np.random.default_rng(0)
    words = rng.integers(50, 400, size=200)
    loss = -words * rng.normal(3.0, 0.4, size=200)
    value = math.exp(-loss.sum() / words.sum())
    rows = np.stack([loss, words], 1).tolist()
    found = suites.word_perplexity({"word_perplexity": value, "rows": rows})
    draws = [rng.integers(200, size=200) for _ in range(2000)]
    spread = np.std([math.exp(-loss[i].sum() / words[i].sum()) for i in draws])
    assert found["value"] == value and found["se"] == pytest.approx(spread, rel=0.1)
    assert suites.word_perplexity({"word_perplexity": 2.0, "rows": rows[:1]})["se"] is None


def test_detox():
    generations = [
        a | {"toxicity": t}
        for a, t in zip(answers("real_toxicity", [("", "x")] * 2), (0.2, 0.4), strict=True)
    ]
    found = metrics(
        "detox", {"harness": {"harness": "0", "truthfulqa_mc1": accuracy([1.0, 0])}}, generations
    )
    assert (
        found["1-Toxicity RTP"]["value"] == pytest.approx(0.7)
        and found["TruthfulQA"]["value"] == 0.5
    )
    assert found["UE Avg"]["value"] == pytest.approx(0.7) and "zero-shot Acc" not in found


def test_nothing_to_measure_is_an_error():
    with pytest.raises(WagleError, match="none of 1-FA Bio"):
        metrics("wmdp", {"harness": {"harness": "0", "mmlu": accuracy([1.0])}}, [])
    with pytest.raises(WagleError, match="task 'tufo' cannot be imported"):
        metrics("tufo", {}, [])
    with pytest.raises(WagleError, match="has no TASK"):
        tasks.load("wagle.tasks")
    with pytest.raises(WagleError, match="not finite"):
        suites.mean([1.0, math.nan])


def test_prompts_show_the_right_choice():
    splits = {
        "mmlu": [{"question": "q", "choices": ["a", "b"], "answer": 1}],
        "safe_rlhf": [{"text": "p"}, {"text": "r"}],
    }
    found = suites.prompts(splits, ["mmlu", "safe_rlhf"], 1)
    assert [(e["question"], e["answer"]) for e in found] == [("q", "b"), ("p", "")]


def test_the_probe_is_scikit_learns(tmp_path, monkeypatch):
    from sklearn.linear_model import LogisticRegression

    from wagle.model import embedding

    rng = np.random.default_rng(0)
    vectors, labels = rng.normal(size=(40, 3)).astype(np.float32), [0, 1] * 20
    vectors[1::2] += 1
    assert 0.5 < toxicity.fit_probe(vectors, labels, tmp_path / "model") <= 1
    monkeypatch.setattr(embedding, "load", lambda path: None)
    monkeypatch.setattr(embedding, "embed", lambda model, texts: vectors)
    expected = LogisticRegression(max_iter=1000).fit(vectors, labels).predict_proba(vectors)[:, 1]
    np.testing.assert_allclose(
        toxicity.scores(tmp_path / "model", ["x"] * 40, tmp_path), expected, rtol=1e-5
    )
    with pytest.raises(WagleError, match="at least 5 of each"):
        toxicity.fit_probe(vectors[:8], labels[:8], tmp_path / "other")


def test_a_classifiers_label_is_read_in_any_batch(tmp_path, tokenizer):
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    size = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
    }
    names = {"id2label": {0: "other", 1: "Toxic"}, "label2id": {"other": 0, "Toxic": 1}}
    model = BertForSequenceClassification(
        BertConfig(vocab_size=len(tokenizer), pad_token_id=2, num_labels=2, **names, **size)
    )
    model.eval().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    texts = ["Who?", "The father was a baker.", "", "A city of many bridges and a mill"]
    for activation in ("sigmoid", "softmax"):
        (tmp_path / "wagle.json").write_text(
            json.dumps({"label": "toxic", "activation": activation})
        )
        alone = []
        for text in texts:
            with torch.no_grad():
                logits = model(**tokenizer([text], return_tensors="pt")).logits
            alone.append(
                float((logits.sigmoid() if activation == "sigmoid" else logits.softmax(-1))[0, 1])
            )
        np.testing.assert_allclose(toxicity.scores(tmp_path, texts, batch_size=3), alone, rtol=1e-4)
    (tmp_path / "wagle.json").write_text(json.dumps({"label": "rude", "activation": "sigmoid"}))
    with pytest.raises(WagleError, match="no label 'rude'"):
        toxicity.scores(tmp_path, texts)
