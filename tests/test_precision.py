"""Precision policies: frozen bits, what small updates come to, agreement with fp32, resume.

And activation checkpointing.
"""

import copy
import dataclasses

import pytest
import torch

from wagle.attribution.gradients import accumulate
from wagle.errors import WagleError
from wagle.model.checkpointing import checkpointed
from wagle.model.losses import answer_loss
from wagle.objectives import graddiff
from wagle.runtime import threads
from wagle.training import optimizers
from wagle.training.data import TrainingData
from wagle.training.loop import fit
from wagle.training.objective import Objective
from wagle.training.options import TrainingOptions
from wagle.training.resume import ResumeFolder

OPTIONS = TrainingOptions(
    lr=1e-3, weight_decay=0.1, batch_size=4, warmup=0.1, token_budget=400, seed=0, epochs=2
)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def weight_dtype(policy):
    return DTYPES[optimizers.weight_precision(policy)]


def run(model, encoded, policy, loss=graddiff.loss, *, masks=None, resume=None, **changes):
    """The weights after a run under `policy`; `changes` are options."""
    model = model.to(weight_dtype(policy))
    data = TrainingData(encoded["forget"], encoded["retain"], pad_id=2)
    options = dataclasses.replace(OPTIONS, precision=policy, **changes)
    fit(model, data, Objective(loss), options, masks=masks, resume=resume)
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def drift(policy, steps=200, lr=1e-5, size=20_000):
    """Mean displacement of weights of 1.0, and the weights, under a constant gradient.

    AdamW moves each by lr a step.
    """
    torch.manual_seed(0)
    weight = torch.ones(size, dtype=weight_dtype(policy))
    optimizer = optimizers.make_optimizer(policy, {"w": weight}, None, optimizers.Decay(0.0))
    weight.requires_grad_()
    for _ in range(steps):
        weight.grad = torch.full_like(weight, 0.5)
        optimizer.step(lr)
    compensation = optimizer.parameter_state("w").get("lost", torch.zeros(size)).float()
    return float((1 - weight.detach().float() - compensation).mean()), weight.detach()


def test_what_becomes_of_updates_below_half_a_bf16_step():
    """200 steps of 1e-5 from 1.0, where bf16's next number below is 0.0039 away.

    What moves: all of it, nothing, its mean, its rounding.
    """
    assert drift("fp32")[0] == pytest.approx(2e-3, rel=0.01)
    assert drift("bf16")[0] == 0
    mean, weight = drift("bf16-stochastic")
    assert mean == pytest.approx(2e-3, rel=0.05)  # standard error of 20,000 draws: 1.4e-5
    assert set(weight.float().tolist()) <= {1 - i * 2.0**-8 for i in range(12)}
    mean, weight = drift("bf16-kahan")
    assert mean == pytest.approx(2e-3, rel=0.01)
    assert set(weight.float().tolist()) <= {
        1,
        1 - 2.0**-8,
    }  # what is left stands in the compensation


def test_stochastic_rounding_is_unbiased_and_exact_where_it_can_be():
    torch.manual_seed(0)
    x = torch.full((200_000,), 1 + 2.0**-7 * 0.3)
    assert float(
        (optimizers.round_stochastically(x).float() - 1).mean() / 2.0**-7
    ) == pytest.approx(0.3, abs=0.01)
    exact = torch.randn(1000).bfloat16().float()
    exact[:2] = torch.tensor([0.0, -0.0])
    assert torch.equal(
        optimizers.round_stochastically(exact).view(torch.int16), exact.bfloat16().view(torch.int16)
    )


@pytest.mark.parametrize("policy", optimizers.POLICIES)
def test_frozen_weights_keep_their_bits(policy, model, encoded):
    model = model.to(weight_dtype(policy))
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, :4] = torch.tensor([0.0, -0.0, 1.0, -1.0])
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    masks = {name: torch.rand(p.shape, generator=generator) < 0.5 for name, p in before.items()}
    masks["model.layers.0.mlp.up_proj.weight"][0, :4] = False
    after = run(model, encoded, policy, masks=masks)
    kind = torch.int32 if policy == "fp32" else torch.int16
    changed = {name: after[name].view(kind) != before[name].view(kind) for name in before}
    assert not any((changed[name] & ~masks[name]).any() for name in before)
    assert sum(int(changed[name].sum()) for name in before) > 0.1 * sum(
        int(mask.sum()) for mask in masks.values()
    )


@pytest.mark.parametrize(("policy", "share"), [("bf16-stochastic", 1.0), ("bf16-kahan", 0.6)])
def test_compensated_training_ends_nearer_to_fp32_than_bf16(policy, share, model, encoded):
    """Distance of the whole update from fp32's.

    Stochastic rounding is unbiased but noisy, so for it the mean update counts.
    """
    start = {name: p.detach().bfloat16().float() for name, p in model.named_parameters()}
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(start[name])
    options = {"lr": 5e-5, "weight_decay": 0.0}
    exact, nearest, found = (
        run(copy.deepcopy(model), encoded, kind, **options) for kind in ("fp32", "bf16", policy)
    )

    def error(other):
        pairs = [
            ((other[n].float() - start[n]).flatten(), (exact[n] - start[n]).flatten())
            for n in start
        ]
        got, wanted = (torch.cat(part) for part in zip(*pairs, strict=True))
        return (
            abs(float(got @ wanted / (wanted @ wanted)) - 1)
            if share == 1
            else float((got - wanted).norm() / wanted.norm())
        )

    assert error(found) < share * error(nearest)


def test_masks_and_policies_agree_on_a_full_mask(model, encoded):
    ones = {name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters()}
    for policy in optimizers.POLICIES:
        dense = run(copy.deepcopy(model), encoded, policy)
        full = run(copy.deepcopy(model), encoded, policy, masks=ones)
        assert all(torch.equal(dense[name], full[name]) for name in dense), policy


@pytest.mark.parametrize(
    ("policy", "options"),
    [*((policy, {}) for policy in optimizers.POLICIES), ("fp32", {"offload_moments": True})],
)
def test_a_killed_run_continues_to_the_same_weights(policy, options, model, encoded, tmp_path):
    expected = run(copy.deepcopy(model), encoded, policy, **options)
    calls = []

    def killed(f, r):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return graddiff.loss(f, r)

    resume = ResumeFolder(tmp_path / "resume", "me", interval=0)
    with pytest.raises(KeyboardInterrupt):
        run(copy.deepcopy(model), encoded, policy, killed, resume=resume, **options)
    assert (tmp_path / "resume" / "state.safetensors").exists()
    again = run(copy.deepcopy(model), encoded, policy, resume=resume, **options)
    assert all(torch.equal(expected[name], again[name]) for name in expected)


@pytest.mark.parametrize("size", [1, 8, 100, 1003])
def test_packed_masks_are_the_masks(size, monkeypatch):
    monkeypatch.setattr(optimizers, "GPU_PIECE", 64)
    bits = torch.rand(size) < 0.5
    packed = optimizers.PackedBits(bits)
    assert packed.packed.numel() == -(-size // 8)
    for piece in (8, 64, 2048):
        assert torch.cat(list(packed.split(piece))).equal(bits)


@pytest.mark.parametrize("policy", optimizers.POLICIES)
def test_packed_masks_train_the_same_weights(policy, model, encoded, monkeypatch):
    masks = {
        name: torch.rand(p.shape, generator=torch.Generator().manual_seed(1)) < 0.5
        for name, p in model.named_parameters()
    }
    plain = run(copy.deepcopy(model), encoded, policy, masks=masks)
    monkeypatch.setattr(
        optimizers, "_frozen", lambda mask, _: optimizers.PackedBits(~mask.reshape(-1))
    )
    packed = run(model, encoded, policy, masks=masks)
    assert all(packed[name].equal(weights) for name, weights in plain.items())


@pytest.mark.parametrize("masked", [True, False])
def test_streamed_moments_give_the_same_bits(masked, model, encoded, monkeypatch):
    monkeypatch.setattr(threads, "PIECE", 64)
    masks = {
        name: torch.rand(p.shape, generator=torch.Generator().manual_seed(1)) < 0.5
        for name, p in model.named_parameters()
    }
    options = {"masks": masks if masked else None}
    resident = run(copy.deepcopy(model), encoded, "fp32", **options)
    streamed = run(model, encoded, "fp32", offload_moments=True, **options)
    assert all(streamed[name].equal(weights) for name, weights in resident.items())


def test_only_moments_of_fp32_can_lie_in_host_memory():
    block = dataclasses.asdict(OPTIONS) | {"offload_moments": True, "precision": "bf16"}
    with pytest.raises(WagleError, match="offload_moments with precision bf16"):
        TrainingOptions.from_config(block)


def test_unknown_policies_and_wrong_weights_are_refused(model):
    with pytest.raises(WagleError, match="bf16-kahan"):
        optimizers.weight_precision("fp16")
    with pytest.raises(WagleError, match="not bf16"):
        optimizers.make_optimizer(
            "bf16-kahan", dict(model.named_parameters()), None, optimizers.Decay(0.0)
        )


def test_checkpointed_gradients_are_the_same_bits_in_evaluation_mode(model, encoded):
    expected, loss = accumulate(model, encoded["forget"], 2, 300)
    calls = []
    model.model.layers[1].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    found, other = accumulate(model, encoded["forget"], 2, 300, activation_checkpointing=True)
    assert loss == other and all(torch.equal(expected[name], found[name]) for name in expected)
    passes = len(calls)
    calls.clear()
    accumulate(model, encoded["forget"], 2, 300)
    assert passes == 2 * len(calls)  # each block ran once more in the backward pass


def test_checkpointed_training_is_the_same_run(model, encoded):
    expected = run(copy.deepcopy(model), encoded, "fp32")
    found = run(copy.deepcopy(model), encoded, "fp32", activation_checkpointing=True)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_model_without_blocks_cannot_be_checkpointed():
    with pytest.raises(WagleError, match="no block"), checkpointed(torch.nn.Linear(2, 2)):
        pass


def full_losses(model, rows):
    """Answer losses from all logits, one row at a time."""
    result = []
    for row in rows:
        ids = torch.tensor([row.ids])
        logp = torch.log_softmax(model(ids).logits[0, :-1].float(), -1)
        result.append(-logp[torch.arange(len(row) - 1), ids[0, 1:]][row.start - 1 :].mean())
    return torch.stack(result)


def test_the_head_at_answer_positions_alone_changes_nothing(model, encoded, monkeypatch):
    rows, widths = encoded["forget"], []
    handle = model.lm_head.register_forward_hook(
        lambda module, args, out: widths.append(out.shape[:2])
    )
    found = answer_loss(model, rows, 2)
    handle.remove()
    assert widths == [(1, int(found.tokens.sum()))]
    torch.testing.assert_close(found.mean, full_losses(model, rows), rtol=1e-6, atol=1e-6)
    monkeypatch.setattr(
        model, "get_output_embeddings", lambda: None
    )  # a model that does not say where its head is
    torch.testing.assert_close(answer_loss(model, rows, 2).mean, found.mean, rtol=1e-6, atol=1e-6)
