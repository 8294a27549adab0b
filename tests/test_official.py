"""The official code's habits, each against a number worked out by hand or by a loop of its own."""

import copy
import dataclasses
import itertools
import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TEMPLATE
from test_training import CELL, ENCODING, OPTIONS, run

from wagle.attribution.gradients import accumulate
from wagle.data.batching import collate
from wagle.data.encoding import encode_rows, encode_text
from wagle.errors import WagleError
from wagle.figures import switches
from wagle.model.losses import answer_loss
from wagle.reporting import plots
from wagle.training.movement import FactorRange, decay_bounds
from wagle.training.objective import load_objective
from wagle.training.optimizers import POLICIES, Decay, make_optimizer, norms_and_biases
from wagle.training.schedule import learning_rate, make_steps
from wagle.training.unlearning import (
    FrozenDecay,
    UnlearningRows,
    count_moved,
    unlearn,
)

PAD = 2


# --- rows ---


def test_label_span_begins_with_the_last_prompt_token(tokenizer, rows):
    plain = encode_rows(tokenizer, rows["forget"], **ENCODING)
    wide = encode_rows(tokenizer, rows["forget"], last_prompt_token_in_loss=True, **ENCODING)
    for one, other in zip(plain, wide, strict=True):
        assert other.ids == one.ids
        assert tokenizer.decode(other.ids[other.start]).endswith("]")  # the end of [/INST]
        mask = collate([other], PAD).loss_mask[0].tolist()
        assert mask == [False] * (one.start - 1) + [True] * (len(one) - one.start + 1)


def test_prompt_tag_changes_the_prompt_alone(tokenizer, rows):
    options = ENCODING | {"template": TEMPLATE.replace("[/INST]", "[\\INST]")}
    [found] = encode_rows(tokenizer, rows["forget"][:1], **options)
    text = tokenizer.decode(found.ids[1 : found.start])
    assert "[\\INST]" in text and "[/INST]" not in text
    assert found.ids[-1] == tokenizer.eos_token_id


def test_refusals_without_eos_and_with_the_answers_attention(tokenizer, rows):
    refusals = ["No.", "I am sorry, but this is a question that I do not want to answer. " * 2]
    plain = encode_rows(tokenizer, rows["forget"], refusals=refusals, seed=3, **ENCODING)
    found = encode_rows(
        tokenizer,
        rows["forget"],
        refusals=refusals,
        seed=3,
        refusals_end_with_eos=False,
        refusals_attended_as_answers=True,
        **ENCODING,
    )
    answers = encode_rows(tokenizer, rows["forget"], **ENCODING)
    cut = 0
    for one, other, answer in zip(plain, found, answers, strict=True):
        assert other.ids == one.ids[:-1] and one.ids[-1] == tokenizer.eos_token_id
        attended = int(collate([other], PAD).attention_mask.sum())
        assert attended == min(len(answer) - 1, len(other))  # the answer's tokens without its EOS
        cut += attended < len(other)
        assert int(collate([other], PAD).loss_mask.sum()) == len(other) - other.start
    assert 0 < cut < len(found)  # longer refusals are partly hidden, shorter ones are not


def test_hidden_refusal_tokens_change_the_loss(model, tokenizer, rows):
    refusals = ["I am sorry, but this is a question that I do not want to answer. " * 2]
    [plain] = encode_rows(tokenizer, rows["forget"][:1], refusals=refusals, **ENCODING)
    hidden = dataclasses.replace(plain, attended=plain.start + 1)
    ids = torch.tensor([plain.ids])
    mask = torch.ones_like(ids)
    mask[:, plain.start + 1 :] = 0
    logits = model(input_ids=ids, attention_mask=mask).logits[0, plain.start - 1 : -1]
    expected = torch.nn.functional.cross_entropy(logits, ids[0, plain.start :])
    torch.testing.assert_close(answer_loss(model, [hidden], PAD).mean[0], expected)
    assert float(answer_loss(model, [plain], PAD).mean[0].detach()) != float(expected.detach())


def test_padding_in_the_loss_is_not_attended_to(tokenizer):
    plain = encode_text(tokenizer, "One two three.", 20)
    padded = encode_text(tokenizer, "One two three.", 20, "in-loss-unattended")
    batch = collate([padded], PAD)
    assert len(padded) == 20 and padded.ids[: len(plain)] == plain.ids
    assert set(padded.ids[len(plain) :]) == {tokenizer.pad_token_id}
    assert batch.attention_mask[0].tolist() == [1] * len(plain) + [0] * (20 - len(plain))
    assert batch.loss_mask[0].tolist() == [False] + [True] * 19
    attended = encode_text(tokenizer, "One two three.", 20, "in-loss")
    assert attended.ids == padded.ids and collate([attended], PAD).attention_mask.all()


# --- weight decay ---


def nothing(forget, retain):
    return 0 * forget.mean, 0 * retain.mean


def halves(model):
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(p.shape, generator=generator) < 0.5 for name, p in model.named_parameters()
    }


def test_frozen_weights_decay_by_the_product_of_factors(model, encoded):
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    after = run(model, encoded, halves(model), loss=nothing, decay_frozen=True)
    steps = 2 * -(-len(encoded["forget"]) // 4)
    factor = 1.0
    for step in range(steps):
        factor *= 1 - learning_rate(step, steps, OPTIONS.lr, OPTIONS.warmup) * OPTIONS.weight_decay
    for name in before:
        torch.testing.assert_close(after[name], before[name] * factor, rtol=1e-6, atol=0)
    bounds = decay_bounds(OPTIONS, steps)
    assert bounds.low < factor < bounds.high and bounds.high - bounds.low < 1e-4


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_decays_frozen_weights_and_spares_exempt_ones(policy):
    dtype = torch.float32 if policy == "fp32" else torch.bfloat16
    torch.manual_seed(0)
    weights = {name: torch.nn.Parameter(torch.full((64, 64), 0.75, dtype=dtype)) for name in "ab"}
    masks = {name: torch.zeros(64, 64, dtype=torch.bool) for name in "ab"}
    decay = Decay(0.5, acts_on_frozen=True, exempt=frozenset({"b"}))
    optimizer = make_optimizer(policy, weights, masks, decay)
    for _ in range(8):
        for weight in weights.values():
            weight.grad = torch.ones_like(weight)
        optimizer.step(0.1)
    expected = 0.75 * 0.95**8
    tolerance = 1e-6 if policy == "fp32" else 0.01
    assert float(weights["a"].float().mean().detach()) == pytest.approx(expected, rel=tolerance)
    assert torch.equal(weights["b"].detach(), torch.full((64, 64), 0.75, dtype=dtype))


def test_exempt_parameters_are_those_of_transformers(model):
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer

    size = {"n_embd": 8, "n_layer": 1, "n_head": 1, "vocab_size": 10, "n_positions": 8}
    for made in (model, GPT2LMHeadModel(GPT2Config(**size))):
        decayed = set(Trainer.get_decay_parameter_names(None, made))
        names = {name for name, _ in made.named_parameters()}
        assert norms_and_biases(made) == names - decayed
        assert 0 < len(norms_and_biases(made)) < len(names)


def test_norms_keep_their_weights_where_nothing_but_decay_acts(model, encoded):
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    after = run(model, encoded, loss=nothing, decay_exempt=True)
    kept = {name for name in before if torch.equal(before[name], after[name])}
    assert kept == norms_and_biases(model) == {name for name in before if "norm" in name}


# --- frozen weights that decay are checked and reported ---


def test_moved_frozen_weights_are_explained_by_decay_or_refused(model, checkpoint):
    masks = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in model.named_parameters()}
    factors = FactorRange(0.9 * (1 - 1e-6), 0.9 * (1 + 1e-6))
    decay = FrozenDecay(factors, norms_and_biases(model))
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.mul_(1.0 if name in decay.exempt else 0.9)
    total = sum(p.numel() for n, p in model.named_parameters() if n not in decay.exempt)
    moved = count_moved(model, checkpoint, masks, decay)
    assert 0.99 * total < moved.frozen_moved <= total  # zeros stay
    with pytest.raises(WagleError, match=r"frozen weights changed\. Expected: none"):
        count_moved(model, checkpoint, masks)
    for change in (0.5, -1.0, 1.2):  # too small, another sign, grown
        with torch.no_grad():
            kept = model.lm_head.weight[3, 3].item()
            model.lm_head.weight[3, 3] = kept * change
        with pytest.raises(WagleError, match=r"1 frozen weights changed\. Expected: weight decay"):
            count_moved(model, checkpoint, masks, decay)
        with torch.no_grad():
            model.lm_head.weight[3, 3] = kept
    with torch.no_grad():
        model.model.norm.weight[0] *= 0.95
    with pytest.raises(WagleError, match=r"1 frozen weights changed\. Expected: weight decay"):
        count_moved(model, checkpoint, masks, decay)


@pytest.mark.parametrize("lora", [False, True])
def test_a_run_reports_the_decay_of_its_frozen_weights(model, tokenizer, rows, checkpoint, lora):
    masks = None if lora else halves(model)
    adapters = {"r": 2, "alpha": 4, "dropout": 0.0, "target_modules": ["q_proj"]} if lora else None
    _, record = unlearn(
        model,
        tokenizer,
        UnlearningRows(rows["forget"], rows["retain"]),
        load_objective("wagle.objectives.graddiff", {}),
        dataclasses.replace(CELL, decay_frozen=True, decay_exempt=True),
        checkpoint=checkpoint,
        encoding=ENCODING,
        least_moved=0.01,
        masks=masks,
        adapters=adapters,
    )
    if lora:  # the weights below the adapters are no optimizer's
        assert record["frozen_moved"] == 0 and "frozen_factors" not in record
    else:
        assert record["frozen_moved"] > 0.9 * record["frozen"] * 0.9
        assert 0.999 < record["frozen_factors"][0] < record["frozen_factors"][1] < 1
    json.dumps(record)


# --- retain rows ---


def test_retain_draws_with_replacement_are_uniform_and_follow_the_seed():
    plain = make_steps(400, 500, batch_size=4, seed=1, epochs=2)
    steps = make_steps(400, 500, batch_size=4, seed=1, epochs=2, retain_with_replacement=True)
    assert steps == make_steps(
        400, 500, batch_size=4, seed=1, epochs=2, retain_with_replacement=True
    )
    assert [step.forget for step in steps][:100] == [step.forget for step in plain][:100]
    drawn = [[i for step in part for i in step.retain] for part in (plain[:100], steps[:100])]
    assert len(set(drawn[0])) == 400
    # of 500 rows, 400 independent draws hit 500 * (1 - (1 - 1/500)^400) = 275.5, give or take 8
    assert abs(len(set(drawn[1])) - 275.5) < 40
    counts = Counter(
        i
        for step in make_steps(4000, 5, batch_size=8, seed=0, retain_with_replacement=True)
        for i in step.retain
    )
    assert all(abs(counts[i] - 800) < 5 * (4000 * 0.2 * 0.8) ** 0.5 for i in range(5))


# --- gradients ---


def test_sums_in_bf16_are_those_of_a_loop_over_rows(model, encoded):
    rows = encoded["forget"]
    model = model.to(torch.bfloat16)
    other = copy.deepcopy(model)
    found, _ = accumulate(model, rows, PAD, 10**6, in_bf16=True)
    for row in rows:
        answer_loss(other, [row], PAD).mean.sum().backward()  # torch adds to grad in bf16
    for name, parameter in other.named_parameters():
        assert found[name].dtype == torch.bfloat16
        assert torch.equal(found[name], parameter.grad), name
    exact, _ = accumulate(model, rows, PAD, 1)
    assert any(not torch.equal(found[name].float(), exact[name]) for name in exact)


def test_sums_in_bf16_of_fp32_weights_round_each_gradient_first(model, encoded):
    rows = encoded["forget"][:5]
    found, _ = accumulate(model, rows, PAD, 10**6, in_bf16=True)
    name = "lm_head.weight"
    total = torch.zeros_like(model.lm_head.weight, dtype=torch.bfloat16)
    for row in rows:
        loss = answer_loss(model, [row], PAD).mean.sum()
        [gradient] = torch.autograd.grad(loss, [model.lm_head.weight])
        total = (total.float() + gradient.bfloat16().float()).bfloat16()
    assert torch.equal(found[name], total)


@pytest.mark.parametrize("in_bf16", [False, True])
def test_a_scale_of_a_quarter_is_exact(model, encoded, in_bf16):
    whole, loss = accumulate(model, encoded["forget"], PAD, 500, in_bf16=in_bf16)
    quarter, same = accumulate(model, encoded["forget"], PAD, 500, scale=0.25, in_bf16=in_bf16)
    assert loss == same
    assert all(torch.equal(quarter[name], whole[name] / 4) for name in whole)


def test_gamma_decides_whether_the_scale_matters(model, encoded):
    """At gamma 1e-6 the retain term rules, and a quarter of both gradients keeps the order."""
    from wagle.scores import wagle

    sides = [accumulate(model, encoded[s], PAD, 500)[0] for s in ("forget", "retain")]
    name = "model.layers.0.mlp.up_proj.weight"
    weight = model.get_parameter(name).detach()
    orders = {}
    for gamma, scale in itertools.product((1e-6, 1.0), (1.0, 0.25)):
        forget, retain = (side[name] * scale for side in sides)
        scores = wagle.score(weight, forget, retain, gamma=gamma).abs()
        orders[gamma, scale] = set(scores.flatten().topk(scores.numel() // 2).indices.tolist())
    size = weight.numel() // 2
    assert len(orders[1e-6, 1.0] & orders[1e-6, 0.25]) > 0.99 * size
    assert len(orders[1.0, 1.0] & orders[1.0, 0.25]) < 0.99 * size


# --- evaluation and the figure ---


def test_ties_and_the_attacked_text():
    from wagle.evaluation.metrics import embedding_accuracy
    from wagle.evaluation.protocols import PROTOCOLS, Log

    rows = [[0.5, 0.5, 0.1], [0.6, 0.5, 0.1], [0.4, 0.5, 0.1]]
    assert embedding_accuracy(rows).tolist() == [0, 1, 0]
    assert embedding_accuracy(rows, "right").tolist() == [1, 1, 0]
    columns = {
        "split": np.array(["forget_perturbed"] * 4, dtype=object),
        "row": np.zeros(4, int),
        "role": np.array(["answer"] * 4, dtype=object),
        "log_prob": np.array([-1.0, -2.0, -3.0, -9.0]),
        "is_eos": np.array([False, False, False, True]),
    }
    log = Log(columns)
    assert log.attacked("forget_perturbed", 0, True).tolist() == [-1, -2, -3, -9]
    assert log.attacked("forget_perturbed", 0, False).tolist() == [-1, -2, -3]
    found = {
        name: (PROTOCOLS[name]["attack_eos"], PROTOCOLS[name]["ties"])
        for name in ("wagle", "wagle-attack-text", "wagle-ties", "wagle-code")
    }
    assert found == {
        "wagle": (True, "wrong"),
        "wagle-attack-text": (False, "wrong"),
        "wagle-ties": (True, "right"),
        "wagle-code": (False, "right"),
    }


def test_the_figure_compares_each_seed_with_itself(tmp_path):
    method = {"lr": 1.0, "epochs": 1, "weight_decay": 0.0, "ratio": 0.5}
    config = {
        "task": "tofu",
        "seeds": [1, 2],
        "selections": {"dense": {}},
        "unlearning": {"least_moved": 0.0},
        "attribution": {"forget_labels": "answer"},
        "template": TEMPLATE,
        "max_length": 8,
        "methods": {
            "npo": method,
            "npo-x": method | {"module": "wagle.objectives.npo", "official": ["label-span"]},
            "npo-all": method | {"module": "wagle.objectives.npo", "official": ["all"]},
            "po": method | {"official": ["label-span"]},  # of another objective
        },
    }
    options = {"baselines": ["npo"], "selections": ["dense"]}
    values = {
        ("npo", "wagle"): (0.2, 0.4),
        ("npo", "wagle-code"): (0.3, 0.6),
        ("npo-x", "wagle"): (0.5, 0.5),
        ("npo-all", "wagle"): (0.2, 0.4),
        ("npo-all", "wagle-code"): (0.1, 0.3),
    }
    rows = [
        {"experiment": "e", "task": "tofu", "method": method, "selection": "dense", "ratio": None,
         "gamma": None, "seed": seed, "protocol": protocol, "metric": metric, "value": value + add}
        for (method, protocol), pair in values.items()
        for seed, value in zip((1, 2), pair, strict=True)
        for metric, add in (("UE Avg", 0.0), ("UT Avg", 0.1))
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "metrics.csv", index=False)
    params = switches.params(config, options)
    assert params["cells"][0] == "npo/dense/ratio-all/seed-1" and len(params["cells"]) == 6
    data = switches.table({"metrics": [tmp_path / "metrics.csv"]}, params)
    found = data[data["metric"] == "UE Avg"].set_index("habit")
    assert list(found.index) == [
        "protocol wagle-code",
        "label-span",
        "all",
        "all, protocol wagle-code",
    ]
    expected = {  # mean and standard error of two differences a, b: (a + b) / 2 and |a - b| / 2
        "protocol wagle-code": (0.15, 0.05),
        "label-span": (0.2, 0.1),
        "all": (0.0, 0.0),
        "all, protocol wagle-code": (-0.1, 0.0),
    }
    for habit, (mean, se) in expected.items():
        assert found.loc[habit, "difference"] == pytest.approx(mean)
        assert found.loc[habit, "se"] == pytest.approx(se, abs=1e-12)
    assert set(found["seeds"]) == {2} and found["base"].tolist() == pytest.approx([0.3] * 4)
    paths = {kind: tmp_path / f"switches.{kind}" for kind in ("pdf", "svg", "png")}
    plots.save(switches, data, params, paths)
    assert all(path.stat().st_size > 1000 for path in paths.values())
