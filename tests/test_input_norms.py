"""Input norms against sums by hand, for weights that are not those of an nn.Linear."""

import pytest
import torch
from tiny_families import FAMILIES, build

from wagle.attribution import output_rows
from wagle.attribution.input_norms import feature_norms
from wagle.errors import WagleError

BY_NAME = {family.name: family for family in FAMILIES}


@pytest.fixture
def calibration(encoded):
    return encoded["forget"][:5]


def inputs_of(model, module, calibration):
    """What `module` was called with for each row alone: a list of tuples of its arguments."""
    calls = []
    layer = model.get_submodule(module)
    handle = layer.register_forward_pre_hook(lambda _, args: calls.append(args))
    for row in calibration:
        with torch.no_grad():
            model(torch.tensor([row.ids]), use_cache=False)
    handle.remove()
    return calls


@pytest.mark.parametrize(
    ("name", "module", "is_transposed"),
    [
        ("GPT-2", "transformer.h.1.mlp.c_proj", True),
        ("Falcon", "transformer.h.1.mlp.dense_4h_to_h", False),
        ("OPT", "model.decoder.layers.1.fc2", False),
        ("Qwen2-MoE", "model.layers.1.mlp.shared_expert.down_proj", False),
        ("Mixtral", "model.layers.1.mlp.gate", False),
        ("Mamba", "backbone.layers.1.mixer.x_proj", False),
    ],
)
def test_norms_of_a_layers_inputs(name, module, is_transposed, tokenizer, calibration):
    model = build(BY_NAME[name], tokenizer)
    squares = [
        x.reshape(-1, x.shape[-1]).square().sum(0)
        for (x, *_) in inputs_of(model, module, calibration)
    ]
    expected = torch.stack(squares).mean(0).sqrt()
    for budget in (1, 10**6):  # alone, and padded beside longer calibration
        norms = feature_norms(model, calibration, tokenizer.pad_token_id, budget)
        torch.testing.assert_close(
            norms.by_name[f"{module}.weight"], expected, rtol=1e-4, atol=1e-6
        )
        assert (f"{module}.weight" in norms.transposed) == is_transposed


def test_norms_of_experts_count_the_tokens_that_were_sent_to_them(tokenizer, calibration):
    model, place = build(BY_NAME["Mixtral"], tokenizer), "model.layers.1.mlp.experts"
    experts = model.get_submodule(place)
    up, down = torch.zeros(4, 32), torch.zeros(4, 48)
    for hidden, index, _ in inputs_of(model, place, calibration):
        for token, chosen in zip(hidden, index, strict=True):
            for expert in chosen.tolist():
                up[expert] += token.square()
                gate, value = (experts.gate_up_proj[expert] @ token).chunk(2)
                down[expert] += (experts.act_fn(gate) * value).detach().square()
    implementation = model.config._experts_implementation
    for budget in (1, 10**6):
        norms = feature_norms(model, calibration, tokenizer.pad_token_id, budget)
        for name, squares in (("gate_up_proj", up), ("down_proj", down)):
            expected = (squares / len(calibration)).sqrt()
            torch.testing.assert_close(
                norms.by_name[f"{place}.{name}"], expected, rtol=1e-4, atol=1e-6
            )
    assert model.config._experts_implementation == implementation


def test_experts_that_no_token_reaches_are_named(tokenizer, calibration):
    model = build(BY_NAME["Mixtral"], tokenizer)
    router = model.get_submodule("model.layers.0.mlp.gate")
    with torch.no_grad():  # equal logits: the first two experts are taken
        router.weight.zero_()
    norms = feature_norms(model, calibration, tokenizer.pad_token_id, 500)
    name = "model.layers.0.mlp.experts.down_proj"
    missed = norms.unreached[name]
    assert len(missed) == 2 and not norms.by_name[name][missed].any()
    assert f"{name}: no token reached experts {missed[0]}, {missed[1]}" in norms.describe()


def test_what_has_no_norms_is_named(tokenizer, calibration):
    norms = feature_norms(
        build(BY_NAME["Mamba"], tokenizer), calibration, tokenizer.pad_token_id, 500
    )
    parts = {name.partition("mixer.")[2] for name in norms.uncovered}
    assert parts == {"A_log", "conv1d.weight"}
    assert "not ranked: backbone.layers.0.mixer.conv1d.weight" in norms.describe()


def test_products_with_pieces_of_a_weight_are_refused(model, tokenizer, calibration):
    layer = model.model.layers[0].mlp.down_proj
    layer.forward = lambda x: x[..., :8] @ layer.weight[:, :8].T
    with pytest.raises(WagleError, match=r"layers.0.mlp.down_proj.weight is multiplied in pieces"):
        feature_norms(model, calibration, tokenizer.pad_token_id, 500)


@pytest.mark.parametrize("shape", [[3, 5], [2, 3, 5]])
@pytest.mark.parametrize("transposed", [False, True])
def test_rows_of_a_weight_and_back(shape, transposed):
    weight = torch.arange(torch.Size(shape).numel()).reshape(shape)
    rows = output_rows.as_rows(weight, transposed)
    assert list(rows.shape) == output_rows.row_shape(shape, transposed)
    assert torch.equal(output_rows.as_weight(rows, shape, transposed), weight)
    assert torch.equal(torch.cat(output_rows.matrices(weight, transposed)), rows)
