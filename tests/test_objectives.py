"""Losses against values worked out by hand, and the limits that theory states."""

import math

import pytest
import torch

from wagle.errors import WagleError
from wagle.model.losses import RowLoss, answer_loss
from wagle.objectives import finetune, graddiff, npo, po


def rows(mean, tokens):
    mean, tokens = torch.tensor(mean), torch.tensor(tokens)
    return RowLoss(mean, mean * tokens, tokens)


FORGET, RETAIN, REFERENCE = rows([2.0, 3.0], [4, 2]), rows([1.0], [5]), rows([1.5, 3.5], [4, 2])


def test_graddiff():
    forget, retain = graddiff.loss(FORGET, RETAIN, None, retain_weight=2.0)
    assert forget.tolist() == [-2.0, -3.0] and retain.tolist() == [2.0]


def test_po_and_finetune():
    for loss in (po.loss, finetune.loss):
        forget, retain = loss(FORGET, RETAIN, None)
        assert forget.tolist() == [2.0, 3.0] and retain.tolist() == [1.0]


@pytest.mark.parametrize(("size", "x"), [("mean", [0.5, -0.5]), ("sum", [2.0, -1.0])])
def test_npo(size, x):
    forget, _ = npo.loss(FORGET, RETAIN, REFERENCE, beta=0.1, size=size)
    expected = [(2 / 0.1) * math.log(1 + math.exp(-0.1 * value)) for value in x]
    assert forget.tolist() == pytest.approx(expected, rel=1e-6)


def test_npo_gradient_nears_graddiffs_for_small_beta():
    mean = torch.tensor([2.0, 3.0], requires_grad=True)
    forget, _ = npo.loss(
        RowLoss(mean, mean * 3, torch.tensor([3, 3])), RETAIN, REFERENCE, beta=1e-4
    )
    forget.sum().backward()
    assert mean.grad.tolist() == pytest.approx([-1.0, -1.0], abs=1e-3)


@pytest.mark.parametrize("options", [{"size": "total"}, {"beta": 0.0}])
def test_npo_refuses_unknown_variants(options):
    with pytest.raises(WagleError):
        npo.loss(FORGET, RETAIN, REFERENCE, **options)


def test_answer_loss_by_hand(model, encoded):
    rows = encoded["forget"][:3]
    with torch.no_grad():
        loss = answer_loss(model, rows, 2)
    for i, row in enumerate(rows):
        logits = model(torch.tensor([row.ids])).logits[0, :-1].detach()
        logp = torch.log_softmax(logits, -1)[range(len(row) - 1), list(row.ids[1:])][
            row.start - 1 :
        ]
        assert float(loss.mean[i]) == pytest.approx(-float(logp.mean()), rel=1e-5)
        assert float(loss.sum[i]) == pytest.approx(-float(logp.sum()), rel=1e-5)
        assert int(loss.tokens[i]) == len(row) - row.start
