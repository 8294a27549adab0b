"""Curvature estimators against the exact diagonal on a two-layer model in float64.

The Hessian, and the Gauss-Newton matrix over all labels, are computed entry by entry. Estimators
that draw must come near at the rate that theory says. Costs 5 s.
"""

import copy
import dataclasses
import importlib

import pytest
import torch

from wagle.attribution import curvature, hessian
from wagle.attribution.attribution import write_scores
from wagle.attribution.gradients import accumulate
from wagle.attribution.row_gradients import row_moments
from wagle.data.prompts import Encoded
from wagle.errors import WagleError
from wagle.model import tensors
from wagle.model.losses import answer_loss
from wagle.model.outputs import row_outputs

PAD, VOCABULARY = 2, 11
ROWS = [
    Encoded((0, 5, 3, 7, 1), 3, True),
    Encoded((0, 4, 9, 8, 6, 1), 2, True),
    Encoded((0, 10, 3, 4, 1), 2, True),
]


@pytest.fixture(scope="module")
def network():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    size = {"n_embd": 4, "n_layer": 2, "n_head": 2, "n_positions": 8}
    tokens = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 1}
    config = GPT2Config(**size, **tokens, initializer_range=0.5)
    return GPT2LMHeadModel(config).double().eval()


def retain(network, rows=ROWS, reduction="mean", budget=100, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return curvature.RetainLoss(network, rows, PAD, budget, reduction, generator)


def joined(parts):
    return torch.cat([part.reshape(-1) for part in parts])


def flat(by_name):
    return joined(by_name.values())


def estimate(name, loss, **options):
    return flat(curvature.estimate(f"wagle.curvatures.{name}", loss, options))


@pytest.fixture(scope="module")
def exact(network):
    """The Hessian of the mean loss, and the diagonal of its Gauss-Newton matrix."""
    weights = list(network.parameters())
    with hessian.eager_attention(network):
        loss = answer_loss(network, ROWS, PAD).mean.mean()
        gradient = joined(torch.autograd.grad(loss, weights, create_graph=True))
        rows = [
            joined(torch.autograd.grad(entry, weights, retain_graph=True)) for entry in gradient
        ]
    gauss_newton = torch.zeros(len(rows), dtype=torch.float64)
    for row in ROWS:
        logits = row_outputs(network, [row], PAD, logits=True).logits
        for log_probabilities in logits.log_softmax(1):
            for log_probability in log_probabilities:
                g = torch.autograd.grad(log_probability, weights, retain_graph=True)
                square = joined(g).square()
                weight = float(log_probability.detach().exp()) / len(logits) / len(ROWS)
                gauss_newton += weight * square
    return torch.stack(rows), gauss_newton, gradient.detach()


def error(estimated, truth):
    return float((estimated - truth).norm() / truth.norm())


def single_draws(name, network, number):
    """`number` estimates from one draw each, (number, weights)."""
    loss = retain(network)
    return torch.stack([estimate(name, loss, draws=1) for _ in range(number)])


def test_gauss_newton_bartlett_comes_near_at_the_root_of_the_draws(network, exact):
    _, truth, _ = exact
    draws = single_draws("gnb", network, 512)
    few = torch.tensor([error(block.mean(0), truth) for block in draws.split(16)])
    assert 3 < few.square().mean().sqrt() / error(draws.mean(0), truth) < 12  # root of 32 is 5.7
    assert error(draws.mean(0), truth) < 0.15
    assert (draws >= 0).all()


def test_hutchinson_comes_near_with_the_variance_of_its_formula(network, exact):
    matrix, _, _ = exact
    truth = matrix.diagonal()
    draws = single_draws("hutchinson", network, 128)
    off_diagonal = matrix.square().sum(1) - truth.square()
    errors = (draws - truth).square()
    # what one draw's squared error is in the mean: the row's other entries, squared
    assert float(errors.mean(0).sum() / off_diagonal.sum()) == pytest.approx(1, rel=0.2)
    mean_error = (draws.mean(0) - truth).square().sum()
    assert float(mean_error * 128 / off_diagonal.sum()) == pytest.approx(1, rel=0.5)
    assert (draws < 0).any() and (truth < 0).any()  # signed


def test_draws_are_averaged(network):
    for name in ("gnb", "hutchinson"):
        torch.testing.assert_close(
            estimate(name, retain(network), draws=4), single_draws(name, network, 4).mean(0)
        )
        with pytest.raises(WagleError, match="at least 1"):
            estimate(name, retain(network), draws=0)


def test_fisher_and_variance_are_the_moments_of_single_rows(network):
    weights = list(network.parameters())
    rows = []
    for row in ROWS:
        gradients = torch.autograd.grad(answer_loss(network, [row], PAD).mean.sum(), weights)
        rows.append(joined(gradients))
    rows = torch.stack(rows)
    torch.testing.assert_close(estimate("fisher", retain(network)), rows.square().mean(0))
    torch.testing.assert_close(estimate("variance", retain(network)), rows.var(0, correction=0))
    moments = row_moments(network, ROWS, PAD)
    torch.testing.assert_close(flat(moments.mean), rows.mean(0))
    torch.testing.assert_close(
        flat(moments.mean), flat(accumulate(network, ROWS, PAD, 100, "mean").by_name)
    )


def test_fisher_is_gauss_newton_where_the_model_wrote_one_token_answers(network):
    """In the mean over the answers, and at the root of the number of rows."""
    generator = torch.Generator().manual_seed(1)
    prompt = (0, 5, 3)
    row = Encoded((*prompt, 1), 3, True)
    [logits] = row_outputs(network, [row], PAD, logits=True).logits
    weights = list(network.parameters())
    truth = torch.zeros(sum(p.numel() for p in weights), dtype=torch.float64)
    for log_probability in logits.log_softmax(0):
        g = torch.autograd.grad(log_probability, weights, retain_graph=True)
        truth += log_probability.exp().detach() * joined(g).square()
    labels = torch.multinomial(logits.softmax(0), 512, True, generator=generator).tolist()
    rows = [Encoded((*prompt, label), 3, False) for label in labels]
    halves = [estimate("fisher", retain(network, rows[i : i + 32])) for i in range(0, 512, 32)]
    few = torch.tensor([error(part, truth) for part in halves]).square().mean().sqrt()
    many = error(torch.stack(halves).mean(0), truth)
    assert many < 0.15 and 2 < few / many < 8  # root of 16 is 4


def test_one_number_for_all_weights(network, exact):
    matrix, _, gradient = exact
    along = float(gradient @ matrix @ gradient / (gradient @ gradient))
    found = estimate("rayleigh", retain(network))
    assert found.tolist() == pytest.approx([abs(along)] * len(found))
    norm = estimate("gradient_norm", retain(network), factor=2.0)
    assert float(norm[0]) == pytest.approx(2 * float(gradient.norm()))
    assert estimate("constant", retain(network), gamma=0.25).unique().tolist() == [0.25]
    with pytest.raises(WagleError, match="positive"):
        estimate("constant", retain(network), gamma=0.0)


@pytest.mark.parametrize("name", ["fisher", "variance", "gnb", "hutchinson", "rayleigh"])
def test_batches_do_not_matter_and_a_sum_is_n_means(name, network):
    whole = estimate(name, retain(network))
    torch.testing.assert_close(estimate(name, retain(network, budget=1)), whole)
    checkpointed = dataclasses.replace(retain(network), activation_checkpointing=True)
    torch.testing.assert_close(estimate(name, checkpointed), whole)
    summed = estimate(name, retain(network, reduction="sum"))
    torch.testing.assert_close(summed, len(ROWS) * whole)


def test_attention_without_a_second_derivative_is_replaced_for_the_while(model, encoded):
    rows = encoded["retain"][:2]
    model.set_attn_implementation("sdpa")
    weights = list(model.parameters())
    gradients = torch.autograd.grad(
        answer_loss(model, rows, PAD).mean.sum(), weights, create_graph=True
    )
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.autograd.grad(sum(g.square().sum() for g in gradients), weights)
    fused = accumulate(model, rows, PAD, 500, "sum").by_name
    loss = curvature.RetainLoss(model, rows, PAD, 500, "sum", torch.Generator())
    product = hessian.product(loss, fused)
    assert model.config._attn_implementation == "sdpa"
    step = 1e-2 / float(flat(fused).norm())
    shifted = copy.deepcopy(model)
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            for (name, moved), original in zip(
                shifted.named_parameters(), model.parameters(), strict=True
            ):
                moved.copy_(original + sign * step * fused[name])
        ends.append(flat(accumulate(shifted, rows, PAD, 500, "sum").by_name))
    difference = (ends[0] - ends[1]) / (2 * step)
    assert error(flat(product), difference) < 0.02


def test_a_constant_without_damping_gives_wagles_bytes(model, checkpoint, encoded, tmp_path):
    inputs, gamma = {}, 3e-3
    for side in ("forget", "retain"):
        sums = accumulate(model, encoded[side], PAD, 500).by_name
        shapes = {name: list(g.shape) for name, g in sums.items()}
        inputs[side] = str(tmp_path / side)
        tensors.write(inputs[side], shapes, torch.float32, sums.items())
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    files = []
    for kind in ("wagle", "one number", "full"):
        module, options, own = "curvature", {"damping": 0.0}, dict(inputs)
        if kind == "wagle":
            module, options = "wagle", {"gamma": gamma}
        else:
            own["curvature"] = str(tmp_path / "h")
            h = {name: torch.tensor(gamma) for name in sizes}
            if kind == "full":
                h = {name: torch.full_like(p, gamma) for name, p in model.named_parameters()}
            curvature.write(own["curvature"], h, sizes)
        stats = write_scores(
            tmp_path / "s", f"wagle.scores.{module}", checkpoint, own, options=options, seed=0
        )
        header = int.from_bytes((tmp_path / "s").read_bytes()[:8], "little")
        files.append(((tmp_path / "s").read_bytes()[8 + header :], stats["share_first_term"]))
    assert files[0] == files[1] == files[2]


def test_weights_of_a_tensor_or_a_layer_share_their_mean(tmp_path):
    h = {
        "embed.weight": torch.tensor([1.0, 3.0]),
        "layers.0.q.weight": torch.tensor([[1.0, 2.0], [3.0, 6.0]]),
        "layers.0.norm.weight": torch.tensor([-2.0]),
        "layers.1.q.weight": torch.tensor([5.0]),
    }
    sizes = {name: tensor.numel() for name, tensor in h.items()}
    stats = curvature.write(tmp_path / "h", h, sizes)
    assert stats == {"mean": pytest.approx(23 / 8), "negative": pytest.approx(1 / 8)}
    assert float(curvature.mean(tmp_path / "h")) == pytest.approx(23 / 8)
    by_tensor = dict(curvature.stream(tmp_path / "h", sizes, sizes, "tensor"))
    assert [float(x) for x in by_tensor.values()] == [2.0, 3.0, -2.0, 5.0]
    names = ["layers.0.q.weight", "embed.weight"]
    by_layer = dict(curvature.stream(tmp_path / "h", names, sizes, "layer"))
    assert [float(x) for x in by_layer.values()] == [2.0, 2.0]
    with pytest.raises(WagleError, match="curvature_per"):
        list(curvature.stream(tmp_path / "h", sizes, sizes, "head"))
    tensors.write(tmp_path / "g", {"w": [1]}, torch.float32, [("w", torch.ones(1))])
    with pytest.raises(WagleError, match="not a curvature file"):
        curvature.mean(tmp_path / "g")


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({}, "disagrees with the model"),
        ("vector", "gave shape"),
        (float("nan"), "NaN or Inf"),
    ],
)
def test_an_estimator_that_does_not_fit_is_named(network, monkeypatch, result, message):
    module = importlib.import_module("wagle.curvatures.fisher")
    names = [name for name, _ in network.named_parameters()]
    if result == "vector":
        result = {name: torch.zeros(3, 5) for name in names}
    elif result != {}:
        result = {name: torch.tensor(result) for name in names}
    monkeypatch.setattr(module, "diagonal", lambda loss: result)
    with pytest.raises(WagleError, match=message):
        estimate("fisher", retain(network))
