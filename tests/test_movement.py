"""Weights moved by training, told apart from weights moved by weight decay alone."""

import dataclasses
import math

import pytest
import torch

from wagle.errors import WagleError
from wagle.objectives import graddiff
from wagle.training.movement import DTYPES, FactorRange, count_trained, decay_alone
from wagle.training.objective import Objective
from wagle.training.optimizers import POLICIES, Decay, make_optimizer, weight_precision
from wagle.training.options import TrainingOptions
from wagle.training.schedule import learning_rate
from wagle.training.unlearning import UnlearningRows, count_moved, unlearn

OPTIONS = TrainingOptions(
    lr=1e-3, weight_decay=0.1, batch_size=4, warmup=0.1, token_budget=4096, seed=0, epochs=2
)
ENCODING = {"template": "[INST] {question} [/INST] {answer}", "max_length": 128}


def decayed(model, options, steps, masks=None):
    """`model` after steps of AdamW without any gradient."""
    parameters = dict(model.named_parameters())
    optimizer = make_optimizer(options.precision, parameters, masks, Decay(options.weight_decay))
    torch.manual_seed(0)
    for step in range(steps):
        for parameter in parameters.values():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step(learning_rate(step, steps, options.lr, options.warmup))
    return model


@pytest.mark.parametrize("evaluated", ["fp32", "bf16"])
@pytest.mark.parametrize("decay", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("policy", POLICIES)
def test_weight_decay_alone_trains_nothing(model, checkpoint, policy, decay, evaluated):
    options = dataclasses.replace(OPTIONS, precision=policy, weight_decay=decay)
    model = decayed(model.to(DTYPES[weight_precision(policy)]), options, 60)
    found = count_trained(model, checkpoint, None, decay_alone(options, 60), evaluated)
    # one in a thousand may lie beyond the range of stochastic rounding; elsewhere none does
    assert found.share_trained <= (1e-3 if policy == "bf16-stochastic" else 0.0)


def test_bits_alone_do_not_notice(model, checkpoint):
    """Why: nearly every bit pattern changes in a run without gradients."""
    moved = count_moved(decayed(model, OPTIONS, 60), checkpoint, None)
    assert moved.share_moved > 0.9


def test_the_factor_is_the_product_over_the_schedule():
    steps = 37
    factor = math.prod(1 - learning_rate(t, steps, 1e-3, 0.1) * 0.1 for t in range(steps))
    found = decay_alone(OPTIONS, steps)
    assert found.low < factor < found.high
    assert found.high - found.low < 2 * steps * 2**-23
    assert decay_alone(dataclasses.replace(OPTIONS, weight_decay=0.0), 37) == FactorRange(1, 1)


def test_one_step_of_adam_beside_decay_is_seen(model, checkpoint):
    """An update of a thousandth of the learning rate for each of half the weights."""
    model = decayed(model, OPTIONS, 60)
    weight = model.lm_head.weight
    half = torch.arange(weight.numel()).view(weight.shape) % 2 == 0
    masks = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in model.named_parameters()}
    masks["lm_head.weight"][:] = True
    with torch.no_grad():
        weight += 1e-4 * half
    found = count_trained(model, checkpoint, masks, decay_alone(OPTIONS, 60), "fp32")
    assert found.selected == weight.numel() and found.share_trained == pytest.approx(0.5, abs=0.01)


def test_what_evaluation_cannot_read_did_not_move(model, checkpoint):
    """An update of 2^-12 of each weight: seen in fp32, mostly lost in the rounding to bf16."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 2**-12)
    still = FactorRange(1, 1)
    shares = {
        kind: count_trained(model, checkpoint, None, still, kind).share_trained
        for kind in ("fp32", "bf16")
    }
    assert shares["fp32"] > 0.9 and shares["bf16"] < 0.15
    with pytest.raises(WagleError, match="fp16"):
        count_trained(model, checkpoint, None, still, "fp16")


def cell(model, tokenizer, rows, checkpoint, loss, **options):
    return unlearn(
        model,
        tokenizer,
        UnlearningRows(rows["forget"], rows["retain"]),
        Objective(loss),
        OPTIONS,
        checkpoint=checkpoint,
        encoding=ENCODING,
        **options,
    ).record


def nothing(forget, retain):
    return forget.mean * 0, retain.mean * 0


def test_a_run_without_gradients_fails(model, tokenizer, rows, checkpoint):
    with pytest.raises(WagleError, match=r"only 0\.00% of the selected weights moved by more than"):
        cell(model, tokenizer, rows, checkpoint, nothing, least_moved=0.01)


def test_a_normal_run_trains_nearly_all_of_its_weights(model, tokenizer, rows, checkpoint):
    """Of the layers' matrices: an embedding of a token that no row has only decays."""
    masks = {
        name: torch.full(p.shape, "layers" in name and p.ndim == 2)
        for name, p in model.named_parameters()
    }
    record = cell(model, tokenizer, rows, checkpoint, graddiff.loss, masks=masks, least_moved=0.01)
    assert record["share_trained"] > 0.97 and record["share_moved"] >= record["share_trained"]
    assert record["trained"] == round(record["share_trained"] * record["selected"])
