"""Losses against oracles, finite differences in fp64, and the limits that theory states."""

import copy
import dataclasses
import math
import random

import objective_oracles as oracles
import pytest
import torch
from objective_oracles import Token

from wagle.errors import WagleError
from wagle.model.losses import answer_loss
from wagle.model.outputs import RowOutputs, row_outputs
from wagle.objectives import (
    ceu,
    dpo,
    finetune,
    ga,
    ga_kl,
    graddiff,
    ihl,
    npo,
    npo_sam,
    pdu,
    po,
    rmu,
    satimp,
    simnpo,
    undial,
    wga,
)

VOCABULARY, WIDTH, LENGTHS = 5, 3, (4, 1, 3)


def random_rows(seed):
    """Three answers of different lengths; the second has one token."""
    draw = random.Random(seed)

    def numbers(n):
        return [draw.gauss(0, 1.5) for _ in range(n)]

    return [
        [
            Token(
                numbers(VOCABULARY),
                draw.randrange(VOCABULARY),
                numbers(VOCABULARY),
                numbers(WIDTH),
                numbers(WIDTH),
            )
            for _ in range(length)
        ]
        for length in LENGTHS
    ]


FORGET, REFUSAL, RETAIN = random_rows(0), random_rows(1), random_rows(2)


def outputs(rows, logits="logits", hidden="hidden"):
    """What row_outputs() would return for these tokens, in fp64; logits and hidden are leaves."""
    tokens = [token for row in rows for token in row]
    counts = torch.tensor([len(row) for row in rows])
    positions = torch.arange(max(LENGTHS) + 1) < counts[:, None]
    values = torch.tensor([getattr(t, logits) for t in tokens], dtype=torch.float64)
    states = torch.tensor([getattr(t, hidden) for t in tokens], dtype=torch.float64)
    values.requires_grad_(), states.requires_grad_()
    labels = torch.tensor([token.label for token in tokens])
    losses = torch.nn.functional.cross_entropy(values, labels, reduction="none")
    total = losses.new_zeros(positions.shape).masked_scatter(positions, losses).sum(1)
    mean_count = float(counts.double().mean())
    return RowOutputs(
        total / counts, total, counts, positions, labels, losses, values, states, mean_count
    )


def with_reference(rows):
    before = outputs(rows, "before", "hidden_before")
    return dataclasses.replace(outputs(rows), reference=before)


def both_sides():
    """Forget rows with refusals, and retain rows, each with what was before."""
    forget = dataclasses.replace(with_reference(FORGET), refusal=with_reference(REFUSAL))
    return forget, with_reference(RETAIN)


# objective, keyword arguments, arguments, oracle of a forget row
BY_LOGITS = {
    "ga": (ga, {}, (), oracles.graddiff),
    "ga_kl": (ga_kl, {}, (), oracles.graddiff),
    "graddiff": (graddiff, {}, (), oracles.graddiff),
    "po": (po, {}, (), oracles.po),
    "finetune": (finetune, {}, (), oracles.po),
    "npo": (npo, {}, (), oracles.npo),
    "npo_sam": (npo_sam, {"beta": 0.1}, (), oracles.npo),
    "simnpo": (simnpo, {}, (), oracles.simnpo),
    "simnpo-forget05": (
        simnpo,
        {"beta": 2.5, "forget_weight": 0.1375, "margin": 0.3},
        (),
        lambda row, frozen: oracles.simnpo(row, frozen, 2.5, 0.3, 0.1375),
    ),
    "wga": (wga, {}, (), oracles.wga),
    "satimp": (satimp, {}, (), oracles.satimp),
    "ceu": (ceu, {}, (), oracles.ceu),
    "undial": (undial, {}, (), oracles.undial),
    "ihl": (ihl, {}, (), oracles.ihl),
    "pdu": (pdu, {"eps": 0.5}, ({"multiplier": 3.0},), oracles.pdu),
}


@pytest.mark.parametrize("name", BY_LOGITS)
def test_forget_terms_are_the_formulas_and_their_gradients_finite_differences(name):
    module, options, arguments, oracle = BY_LOGITS[name]
    forget, retain = both_sides()
    terms, _ = module.loss(forget, retain, *arguments, **options)
    expected = [oracle(row, row) for row in FORGET]
    assert terms.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    (terms * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)).sum().backward()
    step, numbers = 1e-6, []
    for weight, row in enumerate(FORGET, 1):
        for place in range(len(row)):
            for v in range(VOCABULARY):
                values = []
                for sign in (1, -1):
                    changed = copy.deepcopy(row)
                    changed[place].logits[v] += sign * step
                    values.append(oracle(changed, row))
                numbers.append(weight * (values[0] - values[1]) / (2 * step))
    assert forget.logits.grad.flatten().tolist() == pytest.approx(numbers, rel=1e-6, abs=1e-8)


def test_retain_terms():
    forget, retain = both_sides()
    of_rows = [oracles.ce(row) for row in RETAIN]
    for module in (graddiff, po, npo, simnpo, wga, satimp, ihl):
        terms = module.loss(forget, retain, retain_weight=2.0)[1]
        assert terms.tolist() == pytest.approx([2 * x for x in of_rows]), module
    for module in (ga, ceu, undial):
        assert module.loss(forget, retain)[1].tolist() == [0, 0, 0]
    assert npo_sam.loss(forget, retain)[1].tolist() == pytest.approx([2.25 * x for x in of_rows])
    terms = pdu.loss(forget, retain, {"multiplier": 3.0}, eps=0.5)[1]
    assert terms.tolist() == pytest.approx([3 * (x - 0.5) for x in of_rows])
    divergences = ga_kl.loss(forget, retain, retain_weight=2.0)[1].tolist()
    assert divergences == pytest.approx([2 * oracles.kl(row, row) for row in RETAIN])


def test_dpo():
    forget, retain = both_sides()
    expected = [oracles.dpo(*pair) for pair in zip(FORGET, REFUSAL, strict=True)]
    assert dpo.loss(forget, retain)[0].tolist() == pytest.approx(expected)
    scaled = dpo.loss(forget, retain, form="open-unlearning")[0]
    assert scaled.tolist() == pytest.approx([20 * x for x in expected])
    dpo.loss(forget, retain)[0].sum().backward()
    step = 1e-6
    for side, leaf in enumerate((forget.logits, forget.refusal.logits)):
        values = []
        for sign in (1, -1):
            pair = copy.deepcopy([FORGET[0], REFUSAL[0]])
            pair[side][1].logits[2] += sign * step
            values.append(oracles.dpo(*pair))
        slope = (values[0] - values[1]) / (2 * step)
        assert float(leaf.grad[1, 2]) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize(("distance", "scale"), [("norm", 1.0), ("mse", 1 / WIDTH)])
def test_rmu(distance, scale):
    forget, retain = both_sides()
    terms = rmu.loss(
        forget,
        retain,
        torch.Generator().manual_seed(3),
        steering_coefficient=2.0,
        alpha=10.0,
        distance=distance,
    )
    direction = torch.rand(WIDTH, generator=torch.Generator().manual_seed(3)).tolist()
    length = math.hypot(*direction)
    control = [2.0 * x / length for x in direction]
    expected = [scale * oracles.steered(row, control) for row in FORGET]
    assert terms[0].tolist() == pytest.approx(expected, rel=1e-6)
    assert terms[1].tolist() == pytest.approx([10 * scale * oracles.moved(row) for row in RETAIN])
    (terms[0].sum() + terms[1].sum()).backward()
    token, count = FORGET[0][0], len(FORGET[0])
    slope = 2 * scale * (token.hidden[1] - control[1]) / count
    assert float(forget.hidden.grad[0, 1]) == pytest.approx(slope, rel=1e-6)
    token = RETAIN[2][0]
    slope = 20 * scale * (token.hidden[1] - token.hidden_before[1]) / len(RETAIN[2])
    assert float(retain.hidden.grad[5, 1]) == pytest.approx(slope)


def test_pdus_multiplier_follows_the_violation_after_the_warm_up():
    options = {"eps": 0.5, "step_size": 2.0, "warmup_epochs": 1}
    state = pdu.first_state(multiplier=3.0)
    assert pdu.next_state(state, 9.0, 1.0, **options) == {"multiplier": 3.0}
    assert pdu.next_state(state, 0.75, 1.5, **options) == {"multiplier": 3.5}
    assert pdu.next_state(state, -9.0, 2.0, **options) == {"multiplier": 0.0}


@pytest.mark.parametrize("module", [wga, satimp, undial, ihl])
def test_an_average_over_the_batch_counts_tokens(module):
    """The mean over rows of the terms is the mean over all tokens."""
    forget, retain = both_sides()
    by_row = module.loss(forget, retain)[0]
    by_batch = module.loss(forget, retain, average="batch")[0]
    counts = torch.tensor(LENGTHS, dtype=torch.float64)
    expected = (by_row * counts).sum() / counts.sum()
    torch.testing.assert_close(by_batch.mean(), expected)


@pytest.mark.parametrize(("size", "factor"), [("mean", 1), ("sum", None)])
def test_npos_sizes(size, factor):
    forget, retain = both_sides()
    terms = npo.loss(forget, retain, beta=0.1, size=size)[0]
    for term, row in zip(terms.tolist(), FORGET, strict=True):
        x = oracles.total(row) - oracles.total(row, before=True)
        x /= len(row) if factor else 1
        assert term == pytest.approx((2 / 0.1) * math.log(1 + math.exp(-0.1 * x)))


def test_npo_and_simnpo_near_graddiff_for_small_beta():
    for module in (npo, simnpo):
        forget, retain = both_sides()
        more = {"forget_weight": 1.0} if module is simnpo else {}
        module.loss(forget, retain, beta=1e-4, **more)[0].sum().backward()
        near, _ = both_sides()
        graddiff.loss(near, retain)[0].sum().backward()
        torch.testing.assert_close(forget.logits.grad, near.logits.grad, atol=1e-3, rtol=0)


def test_a_forgotten_token_moves_a_saturating_loss_no_more():
    """Where GA pushes for ever, WGA, SatImp and CE-U stop."""
    tokens = [[Token([-30.0, 0.0, 1.0, 2.0, 3.0], 0, [0.0] * 5, [0.0] * 3, [0.0] * 3)] * 2]
    for module, is_left in ((ga, True), (wga, False), (satimp, False), (ceu, False)):
        forget = outputs(tokens)
        module.loss(forget, outputs(RETAIN))[0].sum().backward()
        assert (float(forget.logits.grad[1].abs().max()) > 1e-3) == is_left, module


@pytest.mark.parametrize(
    ("module", "options"),
    [
        (npo, {"size": "total"}),
        (npo, {"beta": 0.0}),
        (simnpo, {"beta": 0.0}),
        (wga, {"average": "token"}),
        (dpo, {"form": "ours"}),
        (dpo, {"beta": -1.0}),
        (rmu, {"distance": "l1"}),
    ],
)
def test_unknown_variants_are_refused(module, options):
    arguments = (torch.Generator(),) if module is rmu else ()
    with pytest.raises(WagleError):
        module.loss(*both_sides(), *arguments, **options)


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


def test_row_outputs_by_hand(model, encoded):
    """Tokens' losses, logits and hidden states, whole and as parts of a batch."""
    rows = encoded["forget"][:3]
    with torch.no_grad():
        batch = row_outputs(model, rows, 2, logits=True, layer=0)
        for i, row in enumerate(rows):
            whole = model(torch.tensor([row.ids]), output_hidden_states=True)
            part = batch.rows(slice(i, i + 1))
            expected = whole.logits[0, row.start - 1 : -1]
            torch.testing.assert_close(part.logits, expected, rtol=1e-4, atol=1e-5)
            hidden = whole.hidden_states[1][0, row.start :]  # [0] are the embeddings
            torch.testing.assert_close(part.hidden, hidden, rtol=1e-4, atol=1e-5)
            assert part.labels.tolist() == list(row.ids[row.start :])
            assert float(part.token_losses.mean()) == pytest.approx(float(part.mean[0]), rel=1e-5)
            assert part.numbers_in_row().tolist() == list(range(len(row) - row.start))
    with pytest.raises(WagleError, match=r"layer 2 of a model with 2 blocks"):
        row_outputs(model, rows, 2, layer=2)
