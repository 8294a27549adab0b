"""Scores published after WAGLE against float64 computation, on random files. Costs 1 s."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from wagle.attribution import masks
from wagle.attribution.attribution import write_masks, write_scores
from wagle.attribution.budgeting import BudgetRule
from wagle.errors import WagleError
from wagle.model import tensors

SHAPES = {"embed": [12, 5], "layers.0.q": [6, 5], "layers.0.norm": [5], "layers.1.q": [7, 6]}
LINEAR = ("layers.0.q", "layers.1.q")
FILES = ("base", "forget", "retain", "forget_squares", "retain_squares")
FILES += ("forget_variance", "retain_variance")


@pytest.fixture
def files(tmp_path):
    generator = torch.Generator().manual_seed(0)

    def write(path, shapes, positive=False):
        values = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        values = {name: v.square() if positive else v for name, v in values.items()}
        tensors.write(path, shapes, torch.float32, values.items())
        return str(path)

    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / tensors.ORDER).write_text(json.dumps(SHAPES))
    write(tmp_path / "checkpoint" / "model.safetensors", SHAPES)
    paths = {
        name: write(tmp_path / name, SHAPES, name.endswith(("squares", "variance")))
        for name in FILES
    }
    inner = {name: [SHAPES[name][1]] for name in LINEAR}
    paths["activations"] = write(tmp_path / "activations", inner, positive=True)
    return tmp_path / "checkpoint", paths, tmp_path


def memflex(x):
    cosine = (x["forget"] * x["retain"]).sum() / (
        np.linalg.norm(x["forget"]) * np.linalg.norm(x["retain"])
    )
    size = np.abs(x["forget"]).mean() * (2.0**60 if cosine < 0.92 else 1)
    return np.full_like(x["weight"], size)


def sure(x):
    rows = np.linalg.norm(x["forget"].reshape(len(x["forget"]), -1), axis=1)
    return np.zeros_like(x["weight"]) + rows.reshape(-1, *[1] * (x["weight"].ndim - 1))


EXPECTED = {
    "gradient_ratio": lambda x: np.abs(x["forget"]) / (np.abs(x["retain"]) + 1e-8),
    "fisher_ratio": lambda x: x["forget_squares"] / (x["retain_squares"] + 1e-5),
    "variance_ratio": lambda x: x["forget_variance"] / (x["retain_variance"] + 1e-5),
    "task_vector": lambda x: (x["weight"] - x["base"]) * x["forget"],
    "memflex": memflex,
    "sure": sure,
    "activations": lambda x: (
        np.zeros_like(x["weight"]) + np.linalg.norm(x["weight"], axis=0) * x["activations"]
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("piece", [1 << 18, 7])
def test_formula(name, piece, files, monkeypatch):
    checkpoint, paths, folder = files
    monkeypatch.setattr("wagle.attribution.attribution.PIECE", piece)  # a row or two at a time
    write_scores(folder / "s", f"wagle.scores.{name}", checkpoint, paths, options={}, seed=0)
    inputs = {key: load_file(path) for key, path in paths.items()}
    inputs["weight"] = load_file(checkpoint / "model.safetensors")
    scores = load_file(folder / "s")
    assert set(scores) == set(LINEAR if name == "activations" else SHAPES)
    for parameter, score in scores.items():
        arrays = {
            key: file[parameter].double().numpy()
            for key, file in inputs.items()
            if parameter in file
        }
        np.testing.assert_allclose(score.numpy(), EXPECTED[name](arrays), rtol=2e-5)


def test_memflex_takes_whole_tensors_those_that_point_apart_first(files):
    """Of two tensors with a large forget gradient only one points elsewhere than its retain one."""
    checkpoint, paths, folder = files
    forget, retain = load_file(paths["forget"]), load_file(paths["retain"])
    for name in forget:
        forget[name] = torch.full_like(forget[name], 1.0)
        retain[name] = torch.full_like(forget[name], 1.0)  # cosine 1
    retain["layers.0.q"] *= -1
    forget["layers.1.q"] *= 100
    for key, values in (("forget", forget), ("retain", retain)):
        in_order = ((name, values[name]) for name in SHAPES)
        tensors.write(paths[key], SHAPES, torch.float32, in_order)
    write_scores(folder / "s", "wagle.scores.memflex", checkpoint, paths, options={}, seed=0)
    origin = {"selection": "memflex", "gamma": ""}
    n = sum(int(np.prod(shape)) for shape in SHAPES.values())
    ratios = [30 / n, 72 / n]
    targets = [folder / f"m{i}" for i in range(2)]
    write_masks(targets, folder / "s", checkpoint, ratios, "global", origin)
    first, second = (dict(masks.load(path)) for path in targets)
    assert first["layers.0.q"].all() and sum(int(m.sum()) for m in first.values()) == 30
    assert second["layers.0.q"].all() and second["layers.1.q"].all()


def test_a_score_of_linear_layers_freezes_the_rest_and_says_where_it_has_too_few(files):
    checkpoint, paths, folder = files
    write_scores(folder / "s", "wagle.scores.activations", checkpoint, paths, options={}, seed=0)
    origin = {"selection": "activations", "gamma": ""}
    write_masks([folder / "m"], folder / "s", checkpoint, [0.5], "global", origin)
    found = dict(masks.load(folder / "m"))
    assert not found["embed"].any() and not found["layers.0.norm"].any()
    assert masks.read_header(folder / "m")["k"] == sum(int(m.sum()) for m in found.values())
    for budget in (None, BudgetRule("wagle.budgets.lamp", {})):
        with pytest.raises(WagleError, match="only 72 have a score"):
            write_masks([folder / "m"], folder / "s", checkpoint, [0.9], "global", origin, budget)
