"""Chat templates token by token: prompt, answer span, end of turn, and what is refused."""

import itertools

import pytest

from wagle.data import chat
from wagle.data.encoding import encode_rows
from wagle.data.prompts import check_template, encode, encode_prompt, stop_tokens
from wagle.errors import WagleError
from wagle.evaluation import generation

WORDS = "system user assistant Who ? Bob was here . Be brief <think> </think>".split()
SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "[INST]", "[/INST]"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}"
    "{% elif m['role'] == 'user' %}<s>[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }} </s>{% endif %}{% endfor %}"
)
THINKING = CHATML.replace("{% if add", "{% set t = '<think>\n</think>\n' %}{% if add").replace(
    "assistant\n{% endif", "assistant\n{% if not enable_thinking %}{{ t }}{% endif %}{% endif"
)
THINKING = THINKING.replace(
    "\n{{ m['content'] }}",
    "\n{% if m['role'] == 'assistant' %}<think>\n</think>\n{% endif %}{{ m['content'] }}",
)
DATED = "{{ strftime_now('%d %b %Y') }} " + CHATML


@pytest.fixture
def words():
    """A tokenizer of whole words, of single line breaks, and of special tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = [*SPECIAL, "\n", *WORDS, "26", "Jul", "2024", *chat.PROBE]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Split(" ", "removed"),
            pre_tokenizers.Split("?", "isolated"),
        ]
    )
    made.add_special_tokens(SPECIAL)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="</s>",
    )
    tokenizer.chat_template = CHATML
    return tokenizer


def named(tokenizer, ids):
    return tokenizer.convert_ids_to_tokens(list(ids))


USER = ["<|im_start|>", "user", "\n", "Who", "?", "<|im_end|>", "\n", "<|im_start|>", "assistant"]
ANSWER = ["Bob", "was", "here", "<|im_end|>"]


def test_the_end_of_turn_ends_the_span_and_what_follows_it_is_dropped(words):
    encoded = encode(words, "chat", "Who?", "Bob was here", 64)
    assert named(words, encoded.ids) == [*USER, "\n", *ANSWER]
    assert named(words, encoded.ids[encoded.start :]) == ANSWER and encoded.ends_with_eos
    assert named(words, encode_prompt(words, "chat", "Who?")) == [*USER, "\n"]
    assert named(words, stop_tokens(words, "chat")) == ["</s>", "<|im_end|>"]


def test_a_system_message_begins_the_conversation(words):
    template = "chat: Be brief"
    check_template(template)
    system = ["<|im_start|>", "system", "\n", "Be", "brief", "<|im_end|>", "\n"]
    encoded = encode(words, template, "Who?", "Bob was here", 64)
    assert named(words, encoded.ids) == [*system, *USER, "\n", *ANSWER]
    assert named(words, encoded.ids[encoded.start :]) == ANSWER
    assert named(words, encode_prompt(words, template, "Who?")) == [*system, *USER, "\n"]


def test_an_answer_that_ends_like_the_probe_or_the_prompt_keeps_its_tokens(words):
    for answer in ("0", "1", "Who ?", "assistant"):
        encoded = encode(words, "chat", "Who?", answer, 64)
        said = words(answer, add_special_tokens=False)["input_ids"]
        assert list(encoded.ids[encoded.start :]) == [*said, words.convert_tokens_to_ids(ANSWER[3])]


def test_a_template_whose_turns_end_with_eos_or_with_nothing(words):
    words.chat_template = LLAMA2
    expected = ["<s>", "[INST]", "Who", "?", "[/INST]", "Bob", "</s>"]
    encoded = encode(words, "chat", "Who?", "Bob", 64)
    assert named(words, encoded.ids) == expected and encoded.start == 5
    assert stop_tokens(words, "chat") == [words.eos_token_id]
    words.chat_template = LLAMA2.replace(" </s>", "\n")  # the template does not close the turn
    assert named(words, encode(words, "chat", "Who?", "Bob", 64).ids) == expected


def test_thoughts_are_off_and_the_date_is_fixed(words):
    words.chat_template = THINKING
    thought = ["<think>", "\n", "</think>", "\n"]
    encoded = encode(words, "chat", "Who?", "Bob was here", 64)
    assert named(words, encoded.ids) == [*USER, "\n", *thought, *ANSWER]
    assert named(words, encoded.ids[encoded.start :]) == ANSWER
    words.chat_template = DATED
    assert named(words, encode_prompt(words, "chat", "Who?"))[:3] == ["26", "Jul", "2024"]


def test_truncation_and_refusals_without_an_end(words):
    whole = encode(words, "chat", "Who?", "Bob was here", 64)
    cut = encode(words, "chat", "Who?", "Bob was here", len(whole) - 1)
    assert cut.ids == whole.ids[:-1] and not cut.ends_with_eos
    rows = [{"question": "Who?", "answer": "Bob"}]
    [refused] = encode_rows(
        words,
        rows,
        template="chat",
        max_length=64,
        refusals=["Be brief"],
        refusals_end_with_eos=False,
    )
    assert named(words, refused.ids[refused.start :]) == ["Be", "brief"]


def test_generation_stops_at_the_end_of_the_turn(words):
    """A model that always says the same word after each word: Bob, was, here, end of turn."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    size = len(words)
    settings = LlamaConfig(
        vocab_size=size,
        hidden_size=64,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(settings).eval()
    chain = words.convert_tokens_to_ids(["\n", *ANSWER, "user"])
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size, 64))
        model.lm_head.weight.zero_()
        for before, after in itertools.pairwise(chain):
            model.lm_head.weight[after, before] = 1.0
    [answer] = generation.answers(
        model, words, ["Who?"], template="chat", max_new_tokens=8, token_budget=64
    )
    assert answer == "Bob was here"


def test_what_cannot_be_rendered_is_refused(words):
    words.chat_template = LLAMA2
    with pytest.raises(WagleError, match=r"refuses.*no system.*leave the system message out"):
        chat.check_tokenizer(words, "chat: Be brief")
    words.chat_template = None
    with pytest.raises(WagleError, match="no chat template"):
        encode(words, "chat", "Who?", "Bob", 64)
    chat.check_tokenizer(words, "{question} {answer}")  # no chat at all
    with pytest.raises(WagleError, match="otherwise once its answer follows"):
        words.chat_template = "{{ messages | length }} " + CHATML
        encode(words, "chat", "Who?", "Bob", 64)


def test_a_text_with_an_answer_is_no_chat():
    assert chat.is_chat("chat") and chat.is_chat("chat: {question} is answered briefly")
    assert not chat.is_chat("chat: {question}\n{answer}") and not chat.is_chat("chatty")
