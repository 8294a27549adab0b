"""Answer spans at the seam between question and answer, for several tokenizers and templates."""

import pytest

from wagle.data.prompts import check_template, encode, encode_prompt
from wagle.errors import WagleError
from wagle.evaluation.scoring import texts

TEMPLATES = [
    "[INST] {question} [/INST] {answer}",
    "Question: {question}\nAnswer: {answer}",
    "{question}\n{answer}",
    "{question} {answer}",
]


@pytest.mark.parametrize("template", TEMPLATES)
def test_span_is_the_answer_and_eos(tokenizer, rows, template):
    for row in rows["forget"]:
        found = encode(tokenizer, template, row["question"], row["answer"], 128)
        assert (
            found.ids[0] == tokenizer.bos_token_id
            and found.ids[-1] == tokenizer.eos_token_id
            and found.ends_with_eos
        )
        assert tokenizer.decode(found.ids[found.start : -1]).strip() == row["answer"]
        assert row["question"] in tokenizer.decode(found.ids[: found.start])


@pytest.mark.parametrize("template", TEMPLATES)
def test_generation_prompt_is_what_training_saw(tokenizer, rows, template):
    for row in rows["retain"]:
        found = encode(tokenizer, template, row["question"], row["answer"], 128)
        assert encode_prompt(tokenizer, template, row["question"]) == found.ids[: found.start]


def test_chat_template(tokenizer, rows):
    tokenizer.chat_template = "{% for m in messages %}<s>U: {{ m['content'] }}\n{% endfor %}A:"
    row = rows["forget"][0]
    found = encode(tokenizer, "chat", row["question"], row["answer"], 128)
    assert found.ids[0] == tokenizer.bos_token_id and found.ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.decode(found.ids[found.start : -1]) == row["answer"]
    tokenizer.chat_template = None


def test_a_cut_text_has_no_eos_and_a_vanished_answer_is_an_error(tokenizer, rows):
    row = rows["forget"][0]
    whole = encode(tokenizer, TEMPLATES[0], row["question"], row["answer"], 128)
    cut = encode(tokenizer, TEMPLATES[0], row["question"], row["answer"], len(whole) - 1)
    assert not cut.ends_with_eos and cut.ids == whole.ids[:-1]
    with pytest.raises(WagleError, match="max_length"):
        encode(tokenizer, TEMPLATES[0], row["question"], row["answer"], whole.start)


@pytest.mark.parametrize(
    "template", ["{question}", "{answer} {question}", "{question} {answer}!", "{answer}"]
)
def test_bad_templates_are_refused(template):
    with pytest.raises(WagleError, match="template"):
        check_template(template)


def test_scored_texts_by_question(rows):
    splits = {
        "forget_perturbed": rows["forget_perturbed"][:1],
        "real_authors": [{"question": "q", "answer": "a", "perturbed_answer": ["b"]}],
    }
    one = [(s, role) for s, _, role, _, _ in texts(splits, ("paraphrased",))]
    assert one[:3] == [
        ("forget_perturbed", "answer"),
        ("forget_perturbed", "paraphrased@paraphrased"),
        ("forget_perturbed", "perturbed0@paraphrased"),
    ]
    assert one[-2:] == [("real_authors", "answer"), ("real_authors", "perturbed0")]
    both = [
        role
        for s, _, role, _, _ in texts(splits, ("original", "paraphrased"))
        if s == "forget_perturbed"
    ]
    assert len(both) == len(set(both)) == 1 + 2 * 6
    assert sum(s == "real_authors" for s, *_ in texts(splits, ("original", "paraphrased"))) == 2
