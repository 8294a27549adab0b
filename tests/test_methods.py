"""Every method through the loop: gradients, micro-batches, frozen bits, LoRA, resume.

The model's gradient is compared with finite differences of the step's loss, in fp64.
"""

import copy
import dataclasses
import json
import types

import pytest
import torch

from wagle.data.encoding import encode_rows
from wagle.errors import WagleError
from wagle.training.data import TrainingData
from wagle.training.loop import fit
from wagle.training.objective import load_objective
from wagle.training.options import TrainingOptions
from wagle.training.reference import make_reference
from wagle.training.resume import ResumeFolder
from wagle.training.schedule import Step
from wagle.training.shards import Shards
from wagle.training.sharpness import perturbed
from wagle.training.step_gradients import StepGradients
from wagle.training.unlearning import UnlearningRows, training_data, unlearn

OPTIONS = TrainingOptions(
    lr=1e-2, weight_decay=0.1, batch_size=4, warmup=0.0, token_budget=10**6, seed=0, steps=4
)
ENCODING = {"template": "[INST] {question} [/INST] {answer}", "max_length": 128}
REFUSALS = ["I do not know.", "Nobody has told me about this, so I cannot say."]
METHODS = {  # options that the defaults do not have, or that fit a model of two blocks
    "ga": {},
    "ga_kl": {},
    "graddiff": {},
    "npo": {},
    "po": {},
    "npo_sam": {"rho": 0.5},
    "simnpo": {},
    "wga": {},
    "satimp": {"average": "batch"},
    "ceu": {},
    "undial": {"average": "batch"},
    "ihl": {},
    "pdu": {"eps": 1.0, "multiplier": 2.0, "warmup_epochs": 0},
    "rmu": {"layer": 0, "alpha": 2.0},
    "dpo": {},
}
STATE = {"multiplier": 2.0}
STEP = Step((0, 3, 5, 7), (1, 2, 4, 9))


@pytest.fixture
def data(tokenizer, rows):
    return TrainingData(
        encode_rows(tokenizer, rows["forget"], **ENCODING),
        encode_rows(tokenizer, rows["retain"], **ENCODING),
        tokenizer.pad_token_id,
        encode_rows(tokenizer, rows["forget"], refusals=REFUSALS, seed=0, **ENCODING),
    )


@pytest.fixture
def exact(model):
    """The model in fp64 throughout: the family's norms compute in fp32 otherwise."""

    def normalise(norm, x):
        variance = x.pow(2).mean(-1, keepdim=True)
        return norm.weight * x * torch.rsqrt(variance + norm.variance_epsilon)

    for module in model.modules():
        if "RMSNorm" in type(module).__name__:
            module.forward = types.MethodType(normalise, module)
    return model.double()


def rows_of(data, objective):
    """The rows as unlearn() would encode them for `objective`."""
    if "retain.prompt" in objective.needs:
        texts = [dataclasses.replace(row, start=1) for row in data.retain]
        data = dataclasses.replace(data, retain=texts)
    if objective.forget_labels == "refusal":
        return dataclasses.replace(data, forget=data.refusals, refusals=[])
    return data if "forget.refusal" in objective.needs else dataclasses.replace(data, refusals=[])


def step_gradients(model, data, objective, **changes):
    """The gradients of `objective` at weights a little away from those of the reference."""
    options, data = dataclasses.replace(OPTIONS, **changes), rows_of(data, objective)
    before = copy.deepcopy(model)
    reference = make_reference(model, data, objective, options, lambda: before)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter += 0.02 * noise
    return StepGradients(model, Shards(model), data, objective, options, reference)


def gradient(model):
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("name", METHODS)
def test_gradients_do_not_depend_on_micro_batches_and_are_finite_differences(name, exact, data):
    objective = load_objective(f"wagle.objectives.{name}", METHODS[name])
    found = []
    for budget in (1, 10**6):
        other = copy.deepcopy(exact)
        gradients = step_gradients(other, data, objective, token_budget=budget)
        losses = gradients.accumulate(STEP, STATE)
        found.append(gradient(other))
    for key, value in found[0].items():
        torch.testing.assert_close(value, found[1][key], rtol=1e-7, atol=1e-10)
    if name in ("wga", "satimp", "ceu"):  # parts of these losses have no gradient by definition
        return
    if name == "npo_sam":  # its gradient is that of two places: see below
        return
    weights = dict(other.named_parameters())
    for key in ("model.layers.0.mlp.up_proj.weight", "model.embed_tokens.weight"):
        weight, place = weights[key], int(found[1][key].abs().argmax())
        values = []
        with torch.no_grad():
            for sign in (1, -2, 1):
                weight.view(-1)[place] += sign * 1e-5
                values.append(total_loss(gradients))
        slope = (values[0] - values[1]) / 2e-5
        assert float(found[1][key].view(-1)[place]) == pytest.approx(slope, rel=1e-4)
    assert values[2] == pytest.approx(losses.forget + losses.retain, rel=1e-9)


def total_loss(gradients):
    """The step's loss, in evaluation of its terms alone."""
    result = 0.0
    for batch in gradients.micro_batches(STEP):
        terms = gradients.terms(*gradients.outputs(batch, STEP), STATE)
        result += sum(float(part.sum()) / len(STEP.forget) for part in terms)
    return result


def test_sam_takes_the_forget_gradient_uphill_and_the_retain_gradient_here(exact, data):
    """With a mask: e is rho g / norm(g) over selected weights, and all bits come back."""
    rho, model = 0.5, exact
    sam = load_objective("wagle.objectives.npo_sam", {"rho": rho})
    npo = load_objective("wagle.objectives.npo", {"beta": 0.015, "retain_weight": 2.25})
    generator = torch.Generator().manual_seed(0)
    masks = {
        name: torch.rand(p.shape, generator=generator) < 0.5 for name, p in model.named_parameters()
    }
    gradients = dataclasses.replace(
        step_gradients(model, data, npo), objective=sam, local_masks=masks
    )
    with torch.no_grad():
        model.model.norm.weight[0] = -0.0
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    gradients.accumulate(STEP, {})
    found = gradient(model)
    bits = [
        torch.equal(p.view(torch.int64), before[n].view(torch.int64))
        for n, p in model.named_parameters()
    ]
    assert all(bits)

    def of_npo(step):
        model.zero_grad()
        dataclasses.replace(gradients, objective=npo).accumulate(step, {})
        return gradient(model)

    forget, retain = Step(STEP.forget, ()), Step((), STEP.retain)
    at_theta, of_retain = of_npo(forget), of_npo(retain)
    selected = {name: masks[name] * g for name, g in at_theta.items()}
    norm = sum(float((g**2).sum()) for g in selected.values()) ** 0.5
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter += rho / norm * selected[name]
    uphill = of_npo(forget)
    for name, value in found.items():
        torch.testing.assert_close(value, uphill[name] + of_retain[name], rtol=1e-7, atol=1e-10)
    assert max(float((uphill[n] - at_theta[n]).abs().max()) for n in found) > 1e-4


def test_a_zero_gradient_moves_nothing(model):
    shards = Shards(model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = model.lm_head.weight.detach().clone()
    with perturbed(shards, None, 0.1):
        assert torch.equal(model.lm_head.weight, before)


@pytest.mark.parametrize("name", ["undial", "rmu", "npo_sam", "pdu", "dpo", "ga_kl"])
def test_a_killed_run_continues_to_the_same_bytes_and_keeps_frozen_bits(
    name, model, data, tmp_path
):
    objective = load_objective(f"wagle.objectives.{name}", METHODS[name])
    data = rows_of(data, objective)
    generator = torch.Generator().manual_seed(0)
    masks = {
        name: torch.rand(p.shape, generator=generator) < 0.5 for name, p in model.named_parameters()
    }
    before = {name: p.detach().clone() for name, p in model.named_parameters()}

    def run(log, objective=objective, resume=None):
        trained = copy.deepcopy(model)
        reference = make_reference(trained, data, objective, OPTIONS, lambda: copy.deepcopy(model))
        fit(
            trained,
            data,
            objective,
            OPTIONS,
            masks=masks,
            reference=reference,
            log=tmp_path / log,
            resume=resume,
        )
        return {name: p.detach() for name, p in trained.named_parameters()}

    expected = run("whole")
    calls, calls_of_two_steps = [], 6 if name == "npo_sam" else 2

    def killed_loss(*arguments):
        calls.append(1)
        if len(calls) > calls_of_two_steps:
            raise KeyboardInterrupt
        return objective.loss(*arguments)

    resume = ResumeFolder(tmp_path / "resume", "me", interval=0)
    with pytest.raises(KeyboardInterrupt):
        run("killed", dataclasses.replace(objective, loss=killed_loss), resume)
    again = run("resumed", resume=resume)
    assert all(torch.equal(expected[name], again[name]) for name in expected)
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "resumed").read_bytes()
    for key, weight in expected.items():
        frozen = ~masks[key]
        assert torch.equal(weight[frozen].view(torch.int32), before[key][frozen].view(torch.int32))
    assert sum(int((expected[n] != before[n]).sum()) for n in before) > 1000
    if name == "pdu":
        lines = [json.loads(line) for line in (tmp_path / "whole").read_text().splitlines()]
        assert len({line["multiplier"] for line in lines}) == len(lines)


def test_ga_kl_holds_predictions_on_whole_texts(tokenizer, rows):
    """TOFU's form: the question's tokens count, too. Forget rows keep to their answers."""
    objective = load_objective("wagle.objectives.ga_kl", {})
    chosen = UnlearningRows(rows["forget"], rows["retain"])
    data = training_data(tokenizer, chosen, objective, ENCODING, seed=0)
    assert {row.start for row in data.retain} == {1}
    assert min(row.start for row in data.forget) > 1


@pytest.mark.parametrize("name", ["undial", "rmu", "npo_sam"])
def test_lora(name, model, tokenizer, rows, checkpoint):
    _, record = unlearn(
        model,
        tokenizer,
        UnlearningRows(rows["forget"], rows["retain"]),
        load_objective(f"wagle.objectives.{name}", METHODS[name]),
        OPTIONS,
        checkpoint=checkpoint,
        encoding=ENCODING,
        least_moved=0.01,
        adapters={"r": 2, "alpha": 4, "dropout": 0.0, "target_modules": ["q_proj", "v_proj"]},
    )
    assert record["share_moved"] > 0.4 and record["frozen_moved"] == 0


def test_dpo_needs_refusals(model, tokenizer, rows, checkpoint):
    with pytest.raises(WagleError, match=r"objectives\.dpo needs refusal answers"):
        unlearn(
            model,
            tokenizer,
            UnlearningRows(rows["forget"], rows["retain"]),
            load_objective("wagle.objectives.dpo", {}),
            OPTIONS,
            checkpoint=checkpoint,
            encoding=ENCODING,
            least_moved=0.01,
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NEEDS_REFERENCE = True", "has no NEEDS"),
        ("NEEDS = ('logits',)", r"needs 'logits'.*forget\.logits"),
        ("NEEDS = ('forget.hidden',)", "has no option layer"),
        ("NEEDS = ('state',)", "has no first_state"),
        ("NEEDS = ()\n\n\ndef loss(forget, retain, *, beta): pass", "no option beta"),
    ],
)
def test_a_module_that_asks_for_what_there_is_not(text, message, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    name = f"objective_{abs(hash(text))}"
    body = "FORGET_LABELS = 'answer'\n\n\ndef loss(forget, retain): pass\n\n\n" + text
    (tmp_path / f"{name}.py").write_text(body)
    with pytest.raises(WagleError, match=message):
        load_objective(name, {})
