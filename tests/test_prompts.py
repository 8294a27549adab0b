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


# --- templates, token by token ---------------------------------------------------------------

PIECES = [
    "<unk>",
    "<s>",
    "</s>",
    "▁[",
    "[",
    "INST",
    "]",
    "/",
    "\\",
    "▁Who",
    "?",
    "▁Bob",
    "Bob",
    "▁",
    "B",
    "o",
    "b",
    ".",
    "▁was",
    "▁here",
]


@pytest.fixture
def llama_like():
    """A SentencePiece tokenizer as Llama 2 has one.

    Blanks become a mark that begins the next piece.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    scores = [0.0] * 3 + [-float(10 - len(piece)) for piece in PIECES[3:]]
    made = Tokenizer(models.Unigram(list(zip(PIECES, scores, strict=True)), unk_id=0))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    made.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair=None, special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


QUESTION = ["<s>", "▁[", "INST", "]", "▁Who", "?", "▁["]
BY_PROTOCOL = {  # the prompt's last tokens, then the answer's
    "wagle": ("[INST] {question} [/INST] {answer}", ["/", "INST", "]"], ["▁Bob"]),
    "wagle-code": ("[INST] {question} [\\INST] {answer}", ["\\", "INST", "]"], ["▁Bob"]),
    "tofu": ("[INST] {question} [/INST]{answer}", ["/", "INST", "]"], ["Bob"]),
    "open-unlearning": ("[INST] {question} [/INST]{answer}", ["/", "INST", "]"], ["Bob"]),
}


@pytest.mark.parametrize("protocol", BY_PROTOCOL)
def test_tokens_of_each_protocols_template(llama_like, protocol):
    """One blank at the border is another first token of the answer, and it is in the span."""
    template, closing, answer = BY_PROTOCOL[protocol]
    check_template(template)
    encoded = encode(llama_like, template, "Who?", "Bob was here.", 64)
    tokens = llama_like.convert_ids_to_tokens(list(encoded.ids))
    assert tokens == [*QUESTION, *closing, *answer, "▁was", "▁here", ".", "</s>"]
    assert tokens[encoded.start :] == [*answer, "▁was", "▁here", ".", "</s>"]
    prompt = encode_prompt(llama_like, template, "Who?")
    assert llama_like.convert_ids_to_tokens(list(prompt)) == [*QUESTION, *closing]


def test_a_protocols_template_is_its_own_or_the_experiments():
    import yaml

    from wagle.experiment import config, templates
    from wagle.runtime.identity import ROOT

    quick = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    own = quick["template"]
    names = quick["evaluation"]["protocols"]
    assert {templates.of_protocol(quick, name) for name in names} == {own}
    assert templates.folders(quick) == {own: "evaluations"} and templates.others(quick) == {}
    closed = BY_PROTOCOL["tofu"][0]
    quick["evaluation"]["templates"] = {"tofu": closed, "open-unlearning": closed}
    config.validate(quick)
    key = templates.template_id(closed)
    assert templates.others(quick) == {key: closed}
    assert templates.folders(quick) == {own: "evaluations", closed: f"evaluations/{key}"}
    assert templates.of_protocol(quick, "wagle") == own
    assert templates.of_protocol(quick, "tofu") == closed
    for wrong, message in (
        ({"wagle-code": closed}, "is not computed"),
        ({"tofu": "{question}"}, "template"),
        ({"wagle": closed}, "templates"),
        ({}, "templates"),
    ):
        quick["evaluation"]["templates"] = wrong
        with pytest.raises(WagleError, match=message):
            config.validate(quick)
    whp = yaml.safe_load((ROOT / "config" / "whp-quick.yaml").read_text()) | {"data_dir": "."}
    whp["evaluation"]["templates"] = {"tofu": closed}
    with pytest.raises(WagleError, match="no scoring log"):
        config.validate(whp)
