"""Gradients against finite differences in float64; their sums do not depend on batches and order.

And Wanda's norms by hand.
"""

import pytest
import torch

from wagle.attribution.gradients import accumulate
from wagle.attribution.input_norms import feature_norms
from wagle.errors import WagleError
from wagle.model.losses import answer_loss

PAD = 2


def test_finite_differences_in_float64(encoded, tokenizer):
    """On a GPT-2, which computes in float64 throughout.

    A Llama's norms and rotations are float32 by design.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    size = {
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
        "n_positions": 128,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "attn_implementation": "eager",
    }
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **size)).double().eval()
    rows = encoded["forget"][:3]
    sums, _ = accumulate(model, rows, PAD, token_budget=100)
    generator = torch.Generator().manual_seed(0)
    step = 1e-5
    for name, parameter in model.named_parameters():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        losses = []
        with torch.no_grad():
            for sign in (1, -2, 1):
                parameter.add_(sign * step * direction)
                losses.append(float(answer_loss(model, rows, PAD).mean.sum()))
        expected = (losses[0] - losses[1]) / (2 * step)
        assert float((sums[name] * direction).sum()) == pytest.approx(
            expected, rel=1e-6, abs=1e-8
        ), name


@pytest.mark.parametrize("budget", [1, 60, 500, 10**6])
def test_batch_size_and_order_do_not_matter(model, encoded, budget):
    rows = encoded["retain"]
    expected, loss = accumulate(model, rows, PAD, token_budget=200)
    result, other = accumulate(model, rows[::-1], PAD, token_budget=budget)
    assert other == pytest.approx(loss, rel=1e-6)
    for name, gradient in expected.items():
        error = (result[name] - gradient).norm() / gradient.norm()
        assert error <= 1e-5, name


def test_accumulated_equals_concatenated(model, encoded):
    first, second = encoded["forget"], encoded["retain"]
    whole, _ = accumulate(model, first + second, PAD, token_budget=300)
    halves = [accumulate(model, rows, PAD, token_budget=300)[0] for rows in (first, second)]
    for name, gradient in whole.items():
        torch.testing.assert_close(
            halves[0][name] + halves[1][name], gradient, rtol=1e-4, atol=1e-6
        )


def test_mean_is_sum_over_rows(model, encoded):
    rows = encoded["forget"]
    total, _ = accumulate(model, rows, PAD, 300, "sum")
    mean, _ = accumulate(model, rows, PAD, 300, "mean")
    for name in total:
        torch.testing.assert_close(mean[name] * len(rows), total[name])


def test_non_finite_gradient_is_named(model, encoded):
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight[0, 0] = float("nan")
    with pytest.raises(WagleError, match="has NaN or Inf"):
        accumulate(model, encoded["forget"][:2], PAD, 300)


def test_no_rows_is_an_error(model):
    with pytest.raises(WagleError, match="no rows"):
        accumulate(model, [], PAD, 300)


def test_feature_norms_by_hand_and_without_padding(model, encoded):
    rows = encoded["forget"][:4]
    name = "model.layers.1.mlp.down_proj.weight"
    seen = []
    layer = model.get_submodule(name.removesuffix(".weight"))
    handle = layer.register_forward_pre_hook(lambda module, args: seen.append(args[0][0]))
    for row in rows:
        model(torch.tensor([row.ids]))
    handle.remove()
    expected = torch.stack([x.square().sum(0) for x in seen]).mean(0).sqrt()
    for budget in (1, 10**6):
        result = feature_norms(model, rows, PAD, budget).by_name
        torch.testing.assert_close(result[name], expected, rtol=1e-5, atol=1e-6)
        assert "lm_head.weight" not in result
        assert len(result) == 2 * 7
