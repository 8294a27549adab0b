"""The harness on local files: choices of a tiny model against scores computed by hand.

Unknown tasks are named.
"""

import gzip
import json
import math
import re
from pathlib import Path

import pytest
import torch

from wagle.errors import WagleError
from wagle.evaluation import harness, wikitext

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


LINES = ["", " = One thing = \n", "", " It has 3 @,@ 000 parts ( about ) , and a ' name ' . \n", "",
         " = = Its history = = \n", "", " Nobody knew : the U.S. 's @-@ map said \" N \" ; so \n", "", "",
         " = Another = \n", "", " A city of many bridges . \n", " = = = Not a title = = = \n", "",
         " And a mill = wheel \n"]  # fmt: skip


def raw(lines):
    """The raw file that these rows are the lines of: a blank line of it holds one blank."""
    return "".join(line or " \n" for line in lines)


def test_articles_are_whole_and_keep_their_blank_lines():
    one, two = wikitext.pages(LINES)
    assert raw(LINES) == " \n" + one + "\n" + two
    assert one.startswith(" = One thing = \n \n It has") and one.endswith("so \n \n ")
    assert two.startswith(" = Another = \n") and two.endswith(" mill = wheel \n")
    assert wikitext.pages(LINES[2:5]) == [raw(LINES[2:5])]  # no title: one document


def test_word_perplexity_is_the_harnesss_own(model, tokenizer, checkpoint, tmp_path, monkeypatch):
    """The same model and articles through the harness's own task, which has the documents ready."""
    import lm_eval.tasks
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks._yaml_loader import load_yaml

    own = Path(lm_eval.tasks.__file__).parent / "wikitext" / "wikitext.yaml"
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    file, ready = tmp_path / "wikitext2" / "test.jsonl", tmp_path / "ready.jsonl"
    file.parent.mkdir()
    file.write_text("".join(json.dumps({"text": line}) + "\n" for line in LINES * 3))
    ready.write_text("".join(json.dumps({"page": p}) + "\n" for p in wikitext.pages(LINES * 3)))
    changed = ("dataset_name", "training_split", "validation_split")
    task = {key: value for key, value in load_yaml(own).items() if key not in changed}
    task |= {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(ready)}}}
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=2, max_length=16)
    theirs = simple_evaluate(model=lm, tasks=[task], bootstrap_iters=0)
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=2)
    whole = simple_evaluate(model=lm, tasks=[task], bootstrap_iters=0)
    values = [r["results"]["wikitext"]["word_perplexity,none"] for r in (theirs, whole)]
    assert values[0] != values[1]  # the articles are longer than the short window
    found = harness.evaluate(checkpoint, ["wikitext"], data_dir=tmp_path)["wikitext"]
    assert found["word_perplexity"] == pytest.approx(values[1], rel=1e-6)
    local = {"wikitext": harness.local_task("wikitext", file)}
    found = harness.run(model, tokenizer, local, [])["wikitext"]
    assert found["word_perplexity"] == pytest.approx(values[1], rel=1e-6) and found["n"] == 6
    loss, words = map(sum, zip(*found["rows"], strict=True))
    assert math.exp(-loss / words) == pytest.approx(found["word_perplexity"], rel=1e-9)
    assert words == sum(len(re.split(r"\s+", page)) for page in wikitext.pages(LINES * 3))
