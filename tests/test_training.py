"""The loop: frozen weights keep their bits, micro-batches and kills change nothing.

Errors name what they found.
"""

import dataclasses
import json
import subprocess
import sys

import pytest
import torch

from wagle.data.encoding import encode_rows
from wagle.errors import WagleError
from wagle.experiment import official, schema_inputs, schema_training
from wagle.experiment.settings import NOT_TRAINING
from wagle.model.losses import answer_loss
from wagle.objectives import finetune, graddiff, npo
from wagle.training.data import TrainingData
from wagle.training.loop import fit
from wagle.training.movement import TrainedWeights, check_trained
from wagle.training.objective import Objective, load_objective
from wagle.training.options import TrainingOptions
from wagle.training.reference import Reference, reference_losses
from wagle.training.resume import ResumeFolder
from wagle.training.schedule import learning_rate, make_steps
from wagle.training.unlearning import (
    UnlearningRows,
    count_moved,
    unlearn,
)

OPTIONS = TrainingOptions(
    lr=1e-3, weight_decay=0.1, batch_size=4, warmup=0.1, token_budget=10**6, seed=0, epochs=2
)


def run(model, encoded, masks=None, loss=graddiff.loss, *, outputs=None, **changes):
    """The weights after a run; `outputs` are keyword arguments of fit(), `changes` options."""
    data = TrainingData(encoded["forget"], encoded["retain"], pad_id=2)
    options = dataclasses.replace(OPTIONS, **changes)
    fit(model, data, Objective(loss), options, masks=masks, **(outputs or {}))
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def bits(tensor):
    return tensor.view({2: torch.int16, 4: torch.int32}[tensor.element_size()])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_frozen_weights_keep_their_bits_under_weight_decay(model, encoded, dtype):
    model = model.to(dtype)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, :4] = torch.tensor(
            [0.0, -0.0, 1.0, -1.0]
        )  # signed zeros count as bits
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    masks = {name: torch.rand(p.shape, generator=generator) < 0.5 for name, p in before.items()}
    masks["model.layers.0.mlp.up_proj.weight"][0, :4] = False
    after = run(model, encoded, masks)
    changed = {name: bits(after[name]) != bits(before[name]) for name in before}
    assert not any((changed[name] & ~masks[name]).any() for name in before)
    moved = sum(int((changed[name] & masks[name]).sum()) for name in before)
    assert moved > 0.5 * sum(int(mask.sum()) for mask in masks.values()) * (
        1 if dtype == torch.float32 else 0.1
    )


def test_full_mask_is_dense_bit_for_bit(model, encoded):
    import copy

    other = copy.deepcopy(model)
    dense = run(model, encoded)
    full = run(
        other,
        encoded,
        {name: torch.ones_like(p, dtype=torch.bool) for name, p in other.named_parameters()},
    )
    assert all(torch.equal(dense[name], full[name]) for name in dense)


def test_weight_decay_acts_on_selected_weights_alone(model, encoded):
    """With a zero loss, selected weights shrink by the product of (1 - lr * decay)."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    masks = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in before.items()}
    masks["lm_head.weight"][::2] = True
    after = run(model, encoded, masks, loss=lambda f, r: (0 * f.mean, 0 * r.mean))
    steps = 2 * -(-len(encoded["forget"]) // 4)
    factor = 1.0
    for step in range(steps):
        factor *= 1 - learning_rate(step, steps, OPTIONS.lr, OPTIONS.warmup) * OPTIONS.weight_decay
    torch.testing.assert_close(after["lm_head.weight"][::2], before["lm_head.weight"][::2] * factor)
    assert torch.equal(after["lm_head.weight"][1::2], before["lm_head.weight"][1::2])


def test_micro_batches_do_not_change_the_run(model, encoded, tmp_path):
    import copy

    logs = []
    for i, budget in enumerate((1, 10**6)):
        run(copy.deepcopy(model), encoded, token_budget=budget, outputs={"log": tmp_path / str(i)})
        logs.append([json.loads(line) for line in (tmp_path / str(i)).read_text().splitlines()])
    for one, other in zip(*logs, strict=True):
        assert one["forget"] == pytest.approx(other["forget"], abs=1e-4)
        assert one["retain"] == pytest.approx(other["retain"], abs=1e-4)
        assert one["tokens"] == other["tokens"]


GOLDEN = {  # of the first version of the loop: losses of forget and retain rows, gradient norms
    "graddiff": [
        [-5.989028, -5.965022, -5.988582, -6.046121, -6.079273, -6.051838],
        [5.987133, 5.991761, 5.948277, 5.908699, 5.856454, 5.903417],
        [1.179538, 1.170482, 0.963825, 1.138940, 1.311353, 1.055149],
    ],
    "npo": [
        [13.862944, 13.863051, 13.849329, 13.797044, 13.763415, 13.781617],
        [5.987133, 5.991761, 5.948261, 5.908656, 5.856256, 5.903162],
        [1.179538, 1.170443, 0.963474, 1.136988, 1.308185, 1.052224],
    ],
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_loss_curve_is_that_of_the_first_version(name, model, encoded, tmp_path):
    generator = torch.Generator().manual_seed(1)
    masks = {
        name: torch.rand(p.shape, generator=generator) < 0.5 for name, p in model.named_parameters()
    }
    losses = reference_losses(model, encoded["forget"], 2, 500) if name == "npo" else None
    reference = Reference(losses)
    outputs = {"reference": reference, "log": tmp_path / "log"}
    loss = {"graddiff": graddiff, "npo": npo}[name].loss
    run(model, encoded, masks, loss, outputs=outputs, lr=1e-2, token_budget=400)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    found = [[line[key] for line in lines] for key in ("forget", "retain", "gradient_norm")]
    for values, expected in zip(found, GOLDEN[name], strict=True):
        assert values == pytest.approx(expected, abs=1e-4)


def test_adamw_equals_torch_on_a_dense_run(model, encoded):
    import copy

    reference = copy.deepcopy(model)
    found = run(model, encoded, loss=finetune.loss)
    steps = make_steps(
        len(encoded["forget"]), len(encoded["retain"]), batch_size=4, seed=0, epochs=2
    )
    optimizer = torch.optim.AdamW(reference.parameters(), lr=0.0, weight_decay=0.1)
    for number, step in enumerate(steps):
        losses = answer_loss(reference, [encoded["forget"][i] for i in step.forget], 2)
        retain = answer_loss(reference, [encoded["retain"][i] for i in step.retain], 2)
        (losses.mean.mean() + retain.mean.mean()).backward()
        torch.nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = learning_rate(number, len(steps), 1e-3, 0.1)
        optimizer.step()
        optimizer.zero_grad()
    for name, p in reference.named_parameters():
        torch.testing.assert_close(found[name], p.detach(), rtol=2e-3, atol=2e-5)


def test_schedule_is_that_of_transformers():
    from transformers import get_linear_schedule_with_warmup

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3e-4)
    schedule = get_linear_schedule_with_warmup(optimizer, 5, 50)
    for step in range(50):
        assert learning_rate(step, 50, 3e-4, 0.1) == pytest.approx(
            schedule.get_last_lr()[0], rel=1e-12, abs=1e-18
        )
        optimizer.step()
        schedule.step()


def test_a_killed_run_continues_to_the_same_weights(model, encoded, tmp_path):
    import copy

    expected = run(copy.deepcopy(model), encoded, outputs={"log": tmp_path / "whole"})
    killed = copy.deepcopy(model)
    calls = []

    def killed_loss(f, r):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return graddiff.loss(f, r)

    resume = ResumeFolder(tmp_path / "resume", "me", interval=0)
    with pytest.raises(KeyboardInterrupt):
        run(killed, encoded, loss=killed_loss, outputs={"resume": resume})
    assert (tmp_path / "resume" / "state.safetensors").exists()
    outputs = {"log": tmp_path / "resumed", "resume": resume}
    again = run(copy.deepcopy(model), encoded, outputs=outputs)
    assert all(torch.equal(expected[name], again[name]) for name in expected)
    assert (tmp_path / "whole").read_text() == (tmp_path / "resumed").read_text()


def test_another_runs_state_is_not_loaded(model, encoded, tmp_path):
    import copy

    one, other = (ResumeFolder(tmp_path / "resume", name, interval=0) for name in ("one", "other"))
    run(copy.deepcopy(model), encoded, outputs={"resume": one})
    expected = run(copy.deepcopy(model), encoded)
    found = run(copy.deepcopy(model), encoded, outputs={"resume": other})
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_broken_state_is_an_error(model, encoded, tmp_path):
    (tmp_path / "resume").mkdir()
    (tmp_path / "resume" / "state.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(WagleError, match="is broken"):
        run(model, encoded, outputs={"resume": ResumeFolder(tmp_path / "resume", "me")})


def test_nan_loss_stops_with_the_step_and_rows(model, encoded):
    with pytest.raises(WagleError, match=r"step 0: forget loss nan.*forget rows"):
        run(model, encoded, loss=lambda f, r: (f.mean * float("nan"), r.mean))


def test_nan_gradient_stops_with_the_tensor(model, encoded):
    model.model.norm.weight.register_hook(lambda g: g * float("nan"))
    with pytest.raises(WagleError, match=r"gradient of model\.norm\.weight has NaN"):
        run(model, encoded)


def test_steps_cover_each_forget_row_once_an_epoch_and_follow_the_seed():
    steps = make_steps(10, 30, batch_size=4, seed=1, epochs=3)
    assert len(steps) == 9
    for epoch in range(3):
        part = steps[3 * epoch : 3 * epoch + 3]
        assert sorted(i for s in part for i in s.forget) == list(range(10))
        drawn = [i for s in part for i in s.retain]
        assert len(set(drawn)) == 10 and max(drawn) < 30
    assert steps == make_steps(10, 30, batch_size=4, seed=1, epochs=3)
    assert steps != make_steps(10, 30, batch_size=4, seed=2, epochs=3)
    assert len(make_steps(10, 30, batch_size=4, seed=1, steps=7)) == 7


def test_memory_that_training_frees_stays_with_the_process():
    """Resident pages after 256 MB were written and freed, with and without the call."""
    code = """
import sys, torch
from wagle.runtime.memory import keep_freed
is_kept = keep_freed() if sys.argv[1] == "keep" else False
block = torch.zeros(1 << 26); del block
print(int(is_kept), int(open("/proc/self/statm").read().split()[1]) * 4 // 1024)
"""
    found = {}
    for way in ("keep", "default"):
        done = subprocess.run(
            [sys.executable, "-c", code, way], capture_output=True, text=True, check=True
        )
        found[way] = list(map(int, done.stdout.split()))
    if not found["keep"][0]:
        pytest.skip("the C library's allocator is not glibc's")
    assert found["keep"][1] - found["default"][1] > 200


def test_npo_reference_is_in_row_order_and_batch_free(model, encoded):
    rows = encoded["forget"]
    first = reference_losses(model, rows, 2, 1)
    second = reference_losses(model, rows, 2, 10**6)
    torch.testing.assert_close(first.sum, second.sum, rtol=1e-5, atol=1e-5)
    one = answer_loss(model, [rows[3]], 2)
    assert float(first.mean[3]) == pytest.approx(float(one.mean[0].detach()), rel=1e-5)


def test_moved_counts_bits_and_refuses_moved_frozen_weights(model, checkpoint):
    masks = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in model.named_parameters()}
    masks["lm_head.weight"][:10] = True
    with torch.no_grad():
        model.lm_head.weight[:5] += 1
    moved = count_moved(model, checkpoint, masks)
    assert moved.share_moved == 0.5 and moved.frozen_moved == 0
    with torch.no_grad():
        model.lm_head.weight[20, 0] += 1
    with pytest.raises(WagleError, match="1 frozen weights changed"):
        count_moved(model, checkpoint, masks)


def test_a_run_that_moved_nothing_fails_with_the_reason():
    with pytest.raises(WagleError, match=r"0\.50%.*bf16.*1e-05"):
        check_trained(
            TrainedWeights(selected=200, trained=1, evaluation_precision="fp32"),
            0.01,
            dataclasses.replace(OPTIONS, precision="bf16", lr=1e-5),
        )


ENCODING = {"template": "[INST] {question} [/INST] {answer}", "max_length": 128}
CELL = dataclasses.replace(OPTIONS, token_budget=4096, epochs=1)


@pytest.mark.parametrize("seed", [1, 2])
def test_lora_moves_its_own_modules_only(model, tokenizer, rows, checkpoint, seed):
    adapters = {"r": 2, "alpha": 4, "dropout": 0.1, "target_modules": ["q_proj", "v_proj"]}
    merged, record = unlearn(
        model,
        tokenizer,
        UnlearningRows(rows["forget"], rows["retain"]),
        load_objective("wagle.objectives.graddiff", {}),
        dataclasses.replace(CELL, seed=seed),
        checkpoint=checkpoint,
        encoding=ENCODING,
        least_moved=0.01,
        adapters=adapters,
    )
    sizes = [p.numel() for n, p in merged.named_parameters() if "q_proj" in n or "v_proj" in n]
    assert (
        record["selected"] == sum(sizes)
        and record["share_moved"] > 0.5
        and record["frozen_moved"] == 0
    )


def test_po_needs_refusals(model, tokenizer, rows, checkpoint):
    with pytest.raises(WagleError, match="needs refusal answers"):
        unlearn(
            model,
            tokenizer,
            UnlearningRows(rows["forget"], rows["retain"]),
            load_objective("wagle.objectives.po", {}),
            CELL,
            checkpoint=checkpoint,
            encoding=ENCODING,
            least_moved=0.01,
        )


def test_options_name_what_a_config_block_has_too_much_or_too_little():
    block = {key: value for key, value in dataclasses.asdict(OPTIONS).items() if value is not None}
    assert TrainingOptions.from_config(block) == OPTIONS
    with pytest.raises(WagleError, match="unknown training option 'learning_rate'"):
        TrainingOptions.from_config(block | {"learning_rate": 1e-3})
    with pytest.raises(WagleError, match="without lr, seed"):
        TrainingOptions.from_config({k: v for k, v in block.items() if k not in ("lr", "seed")})


def test_refusals_are_drawn_once_per_row_by_seed(tokenizer, rows):
    refusals = [f"No {i}." for i in range(20)]
    encoded = [
        encode_rows(tokenizer, rows["forget"], refusals=refusals, seed=seed, **ENCODING)
        for seed in (1, 1, 2)
    ]
    assert encoded[0] == encoded[1] != encoded[2]


def test_every_training_key_of_the_schema_is_an_option():
    """What the schema allows and from_config() refuses would fail only when its job starts."""
    unlearning = schema_training.Unlearning.model_fields.keys() - {"least_moved"}
    allowed = {
        *(schema_inputs.Finetuning.model_fields.keys() - {"replay", "adapters"}),
        *(schema_inputs.Pretraining.model_fields.keys() - {"roles"}),
        *unlearning,
    }
    for block in (schema_training.Method, schema_training.Override):
        allowed |= block.model_fields.keys() - {"least_moved", *NOT_TRAINING}
        of_memory = {"token_budget", "activation_checkpointing", "offload_moments"}
        assert {*block.model_fields} >= unlearning - of_memory
    by_habits = official.options(official.TRAINING, official.HABITS).keys()
    assert allowed | by_habits == {field.name for field in dataclasses.fields(TrainingOptions)}
