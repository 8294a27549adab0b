"""A stopped evaluation goes on with the answers that it has, and ends with the same ones."""

import conftest
import pytest

from wagle.data.prompts import encode_prompt
from wagle.evaluation import generation
from wagle.evaluation.progress import Answers, Progress


def answers(model, tokenizer, rows, saved=None):
    prompts = [encode_prompt(tokenizer, conftest.TEMPLATE, row["question"]) for row in rows]
    return generation.continuations(
        model,
        tokenizer,
        prompts,
        template=conftest.TEMPLATE,
        max_new_tokens=4,
        token_budget=100,
        saved=saved,
    )


def test_batches_that_are_done_are_not_answered_again(model, tokenizer, rows, tmp_path):
    asked, path = rows["retain"][:12], tmp_path / "answers.jsonl"
    whole = answers(model, tokenizer, asked, Answers(path, "this job"))
    assert whole == answers(model, tokenizer, asked)
    lines = path.read_text().splitlines(True)
    assert len(lines) == 12
    path.write_text("".join(lines[:7]) + lines[7][:20])  # killed while it wrote
    batches = []
    forward = model.generate
    model.generate = lambda **inputs: batches.append(1) or forward(**inputs)
    assert answers(model, tokenizer, asked, Answers(path, "this job")) == whole
    done = len(batches)
    batches.clear()
    assert answers(model, tokenizer, asked, Answers(path, "this job")) == whole and not batches
    assert answers(model, tokenizer, asked, Answers(path, "another job")) == whole
    assert 0 < done < len(batches)


def test_the_scoring_log_is_made_once(tmp_path):
    def fail(path):
        path.write_text("half")
        raise KeyboardInterrupt

    folder, target = tmp_path / "resume.part", tmp_path / "tokens"
    with pytest.raises(KeyboardInterrupt):
        Progress(folder, "a").scoring_log(target, fail)
    assert not target.exists()
    Progress(folder, "a").scoring_log(target, lambda path: path.write_text("whole"))
    assert target.read_text() == "whole"
    Progress(folder, "a").scoring_log(target, fail)  # it is not asked
    with pytest.raises(KeyboardInterrupt):
        Progress(folder, "b").scoring_log(target, fail)
