"""The harness on local files: choices of a tiny model against scores computed by hand.

Unknown tasks are named.
"""

import gzip
import json

import pytest
import torch

from wagle.errors import WagleError
from wagle.evaluation import harness

QUESTIONS = [
    {
        "question": f"Which of {i}?",
        "choices": ["one", "two", "three", "four"],
        "answer": i % 4,
        "subject": f"topic_{i % 2}",
    }
    for i in range(12)
]


@pytest.fixture
def data_dir(tmp_path):
    for name in ("wmdp/wmdp-bio", "mmlu/test"):
        path = tmp_path / f"{name}.jsonl.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in QUESTIONS)
    return tmp_path


def by_hand(model, tokenizer, row, topic):
    choices = "\n".join(
        f"{letter}. {text}" for letter, text in zip("ABCD", row["choices"], strict=True)
    )
    heading = f"The following are multiple choice questions (with answers) about {topic}."
    prompt = f"{heading}\n\n{row['question']}\n{choices}\nAnswer:"
    scores = []
    for letter in "ABCD":
        ids, start = (
            tokenizer(f"{prompt} {letter}")["input_ids"],
            len(tokenizer(prompt)["input_ids"]),
        )
        with torch.no_grad():
            logp = torch.log_softmax(model(torch.tensor([ids])).logits[0].float(), -1)
        scores.append(sum(float(logp[i - 1, ids[i]]) for i in range(start, len(ids))))
    return int(max(range(4), key=scores.__getitem__) == row["answer"])


def test_accuracy_is_that_of_the_prompts(
    model, tokenizer, checkpoint, data_dir, monkeypatch, tmp_path
):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    found = harness.evaluate(checkpoint, ["wmdp_bio", "mmlu"], data_dir=data_dir)
    bio = [by_hand(model, tokenizer, row, "biology") for row in QUESTIONS]
    mmlu = [by_hand(model, tokenizer, row, row["subject"].replace("_", " ")) for row in QUESTIONS]
    for task, expected in (("wmdp_bio", bio), ("mmlu", mmlu)):
        accuracy = sum(expected) / len(expected)
        assert found[task]["acc"] == pytest.approx(accuracy)
        assert found[task]["acc_stderr"] == pytest.approx(
            (accuracy * (1 - accuracy) / (len(expected) - 1)) ** 0.5
        )
        assert found[task]["n"] == len(expected)
    assert found["harness"].startswith("0.4")
    sliced = harness.evaluate(checkpoint, ["mmlu"], data_dir=data_dir, limit=4)
    assert sliced["mmlu"]["acc"] == pytest.approx(sum(mmlu[i] for i in (0, 3, 6, 9)) / 4)


def test_mistakes_are_named(checkpoint, data_dir):
    with pytest.raises(WagleError, match="no harness task 'wmdp_bia'"):
        harness.evaluate(checkpoint, ["wmdp_bia"], data_dir=data_dir)
    with pytest.raises(WagleError, match="wmdp-cyber"):
        harness.evaluate(checkpoint, ["wmdp_cyber"], data_dir=data_dir)
    with pytest.raises(WagleError, match="limit"):
        harness.evaluate(checkpoint, ["mmlu"], data_dir=data_dir, limit=0)
