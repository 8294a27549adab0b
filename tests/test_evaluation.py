"""Scoring and generation: equal to one text at a time for any batch; round trips of their files."""

import numpy as np
import pytest
import torch

from wagle.data.prompts import encode_prompt
from wagle.errors import WagleError
from wagle.evaluation import generation, scoring

TEMPLATE = "[INST] {question} [/INST] {answer}"


@pytest.fixture
def splits(rows):
    return {
        "forget_perturbed": rows["forget_perturbed"][:3],
        "retain_perturbed": rows["retain_perturbed"][:2],
    }


def test_scores_do_not_depend_on_the_batch(model, tokenizer, splits):
    logs = [
        scoring.score(model, tokenizer, splits, template=TEMPLATE, max_length=128, token_budget=b)
        for b in (1, 10**6)
    ]
    for name in logs[0]:
        if logs[0][name].dtype.kind == "f":
            np.testing.assert_allclose(logs[0][name], logs[1][name], atol=2e-5)
        else:
            assert (logs[0][name] == logs[1][name]).all()


def test_scores_by_hand(model, tokenizer, encoded):
    row = encoded["forget"][0]
    with torch.no_grad():
        logp = torch.log_softmax(model(torch.tensor([row.ids])).logits[0, :-1].double(), -1)
        [found] = scoring.token_scores(model, [row], 2, 100)
    labels = list(row.ids[1:])
    np.testing.assert_allclose(found["log_prob"], logp[range(len(labels)), labels], rtol=1e-5)
    mean = (logp.exp() * logp).sum(-1)
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(
        found["std"], ((logp.exp() * logp**2).sum(-1) - mean**2).sqrt(), rtol=1e-3
    )
    assert (found["argmax_hit"] == (logp.argmax(-1).numpy() == labels)).all()
    assert (
        found["in_span"].sum() == len(row) - row.start
        and found["in_span"][-1]
        and found["is_eos"].tolist()[-1]
    )
    assert found["is_eos"].sum() == 1


def test_log_round_trip_and_refusal(model, tokenizer, splits, tmp_path):
    log = scoring.score(
        model, tokenizer, splits, template=TEMPLATE, max_length=128, token_budget=1000
    )
    scoring.write_log(tmp_path / "log", log, TEMPLATE)
    again = scoring.read_log(tmp_path / "log", TEMPLATE)
    assert all((log[name] == again[name]).all() for name in log)
    (tmp_path / "bad").write_bytes(b"PAR1 nothing")
    with pytest.raises(WagleError, match="not a scoring log"):
        scoring.read_log(tmp_path / "bad")


def test_a_log_of_another_template_is_refused(model, tokenizer, splits, tmp_path):
    """The log's file says its template; one that does not, or says another, is not read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    log = scoring.score(
        model, tokenizer, splits, template=TEMPLATE, max_length=128, token_budget=1000
    )
    path, closed = tmp_path / "log", TEMPLATE.replace("] {answer}", "]{answer}")
    scoring.write_log(path, log, TEMPLATE)
    assert scoring.log_template(path) == TEMPLATE
    with pytest.raises(WagleError, match=r"scored in the template '.*\] {answer}'.*\]{answer}'"):
        scoring.read_log(path, closed)
    pq.write_table(pa.table({name: pa.array(values) for name, values in log.items()}), path)
    assert scoring.read_log(path).keys() == log.keys()
    for read in (scoring.log_template, lambda p: scoring.read_log(p, TEMPLATE)):
        with pytest.raises(WagleError, match="names no template"):
            read(path)


def test_generation_is_greedy_and_batch_free(model, tokenizer, rows):
    questions = [row["question"] for row in rows["retain"][:5]]
    options = {"template": TEMPLATE, "max_new_tokens": 8}
    batched = generation.answers(model, tokenizer, questions, token_budget=10**6, **options)
    single = generation.answers(model, tokenizer, questions, token_budget=1, **options)
    assert batched == single
    for question, answer in zip(questions, batched, strict=True):
        ids = list(encode_prompt(tokenizer, TEMPLATE, question))
        start = len(ids)
        for _ in range(8):
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == tokenizer.eos_token_id:
                break
        assert answer == tokenizer.decode(ids[start:], skip_special_tokens=True).strip()


def test_total_length_limits_prompt_and_answer(model, tokenizer, rows):
    question = rows["retain"][0]["question"]
    prompt = len(encode_prompt(tokenizer, TEMPLATE, question))
    options = {"template": TEMPLATE, "token_budget": 1000}
    [short] = generation.answers(
        model, tokenizer, [question], max_new_tokens=50, max_total=prompt + 2, **options
    )
    [two] = generation.answers(model, tokenizer, [question], max_new_tokens=2, **options)
    assert short == two


def greedy_ids(model, tokenizer, question, new, ends):
    """The answer's tokens by plain argmax, up to the first of `ends`."""
    ids = list(encode_prompt(tokenizer, TEMPLATE, question))
    start = len(ids)
    while len(ids) < start + new:
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] in ends:
            return ids[start:-1]
    return ids[start:]


def test_settings_of_the_checkpoint_do_not_matter(model, tokenizer, rows, tmp_path):
    """A checkpoint's penalty, temperature, beams and forced tokens are put aside, then restored."""
    from wagle.model import checkpoints

    questions = [row["question"] for row in rows["retain"][:6]]
    options = {"template": TEMPLATE, "max_new_tokens": 12, "token_budget": 1000}
    plain = generation.answers(model, tokenizer, questions, **options)
    own = {
        "repetition_penalty": 1.3,
        "do_sample": True,
        "temperature": 0.2,
        "no_repeat_ngram_size": 2,
        "num_beams": 2,
        "min_new_tokens": 10,
        "suppress_tokens": list(range(100, 140)),
    }
    model.generation_config.update(**own)
    checkpoints.save(model, tokenizer, tmp_path / "own")
    again = checkpoints.load(tmp_path / "own", "fp32")
    assert again.generation_config.repetition_penalty == 1.3
    assert generation.answers(again, tokenizer, questions, **options) == plain
    assert again.generation_config.repetition_penalty == 1.3
    assert plain == [
        tokenizer.decode(
            greedy_ids(model, tokenizer, q, 12, [tokenizer.eos_token_id]), skip_special_tokens=True
        ).strip()
        for q in questions
    ]


def test_an_answer_ends_at_any_end_token(model, tokenizer, rows):
    """The tokenizer's EOS and each of the model's: the answer stops before the first of them."""
    question, options = rows["retain"][0]["question"], {"template": TEMPLATE, "token_budget": 1000}
    model.generation_config.eos_token_id = None
    assert generation.end_tokens(model, tokenizer, TEMPLATE) == [tokenizer.eos_token_id]
    whole = greedy_ids(model, tokenizer, question, 8, [tokenizer.eos_token_id])
    end = next(token for token in whole[1:] if token != whole[0])
    for own in (end, [tokenizer.eos_token_id, end], [end, 399]):
        model.generation_config.eos_token_id = own
        ends = generation.end_tokens(model, tokenizer, TEMPLATE)
        assert ends[0] == tokenizer.eos_token_id and end in ends and len(set(ends)) == len(ends)
        [answer] = generation.answers(model, tokenizer, [question], max_new_tokens=8, **options)
        assert (
            answer == tokenizer.decode(whole[: whole.index(end)], skip_special_tokens=True).strip()
        )
    questions = [row["question"] for row in rows["retain"][:5]]
    model.generation_config.eos_token_id = [end, 399]
    batched = generation.answers(model, tokenizer, questions, max_new_tokens=8, **options)
    for asked, answer in zip(questions, batched, strict=True):
        ids = greedy_ids(model, tokenizer, asked, 8, [tokenizer.eos_token_id, end, 399])
        assert answer == tokenizer.decode(ids, skip_special_tokens=True).strip()
