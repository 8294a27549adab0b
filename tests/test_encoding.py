"""Raw texts as tokens: what carries loss, and the official code's padding as a named switch."""

import pytest
import torch

from wagle.data.encoding import encode_rows, encode_text
from wagle.errors import WagleError
from wagle.model.losses import answer_loss

TEXT = "In which city was the author born?"


def plain_loss(model, ids, attention=None):
    logits = model(torch.tensor([ids]), attention_mask=attention).logits[0, :-1].float()
    return torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]))


def test_every_token_of_a_text_but_the_first_carries_loss(model, tokenizer):
    row = encode_text(tokenizer, TEXT, 64)
    ids = tokenizer(TEXT)["input_ids"]
    assert row.ids == tuple(ids) and not row.ends_with_eos
    with torch.no_grad():
        loss = answer_loss(model, [row], tokenizer.pad_token_id)
        torch.testing.assert_close(loss.mean[0], plain_loss(model, ids))
    assert int(loss.tokens[0]) == len(ids) - 1


def test_padding_never_carries_loss_unless_asked_to(model, tokenizer):
    """Beside a longer text the loss is the same; in-loss it is that of the padded sequence."""
    rows = [encode_text(tokenizer, text, 64) for text in (TEXT, TEXT + " " + TEXT)]
    padded = encode_text(tokenizer, TEXT, 64, "in-loss")
    with torch.no_grad():
        alone, together = (
            answer_loss(model, rows[:n], tokenizer.pad_token_id).mean[0] for n in (1, 2)
        )
        torch.testing.assert_close(alone, together)
        torch.testing.assert_close(
            answer_loss(model, [padded], tokenizer.pad_token_id).mean[0],
            plain_loss(model, list(padded.ids)),
        )
    assert len(padded) == 64 and set(padded.ids[len(rows[0]) :]) == {tokenizer.pad_token_id}


def test_texts_are_cut_and_empty_ones_refused(tokenizer):
    assert len(encode_text(tokenizer, TEXT, 5)) == 5
    with pytest.raises(WagleError, match="has 1 tokens"):
        encode_text(tokenizer, "", 64)
    with pytest.raises(WagleError, match="text_padding 'none'"):
        encode_text(tokenizer, TEXT, 64, "none")


def test_rows_of_both_kinds_and_refusals(tokenizer):
    rows = [{"question": "Who?", "answer": "Me."}, {"text": TEXT}]
    how = {"template": "{question} {answer}", "max_length": 64}
    pair, text = encode_rows(tokenizer, rows, **how)
    assert (
        pair.ends_with_eos
        and tokenizer.decode(pair.ids[pair.start : -1]).strip() == "Me."
        and text.start == 1
    )
    [refused] = encode_rows(tokenizer, rows[:1], refusals=["No."], **how)
    assert tokenizer.decode(refused.ids[refused.start : -1]).strip() == "No."
    with pytest.raises(WagleError, match="raw text"):
        encode_rows(tokenizer, rows, refusals=["No."], **how)
