"""Score formulas against direct computation on saved gradients; masks of every selection."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from wagle.attribution import masks, topk
from wagle.attribution.attribution import write_masks, write_scores
from wagle.attribution.gradients import accumulate
from wagle.attribution.input_norms import feature_norms
from wagle.errors import WagleError
from wagle.model import tensors

PAD = 2


@pytest.fixture
def inputs(model, encoded, tmp_path):
    """Files as the pipeline writes them: forget and retain gradients, activations."""
    paths = {}
    for side in ("forget", "retain"):
        sums, _ = accumulate(model, encoded[side], PAD, 500)
        paths[side] = str(tmp_path / f"{side}.safetensors")
        tensors.write(
            paths[side], {n: list(g.shape) for n, g in sums.items()}, torch.float32, sums.items()
        )
    norms = feature_norms(model, encoded["forget"], PAD, 500).by_name
    paths["activations"] = str(tmp_path / "activations.safetensors")
    tensors.write(
        paths["activations"],
        {n: list(x.shape) for n, x in norms.items()},
        torch.float32,
        norms.items(),
    )
    return paths


EXPECTED = {
    "magnitude": lambda w, f, r, a: np.abs(w),
    "snip": lambda w, f, r, a: w * f,
    "gradient": lambda w, f, r, a: np.abs(f),
    "wanda": lambda w, f, r, a: np.abs(w) * a[None, :],
    "wagle": lambda w, f, r, a: w * f - r * f / 0.5,
}


@pytest.mark.parametrize("name", EXPECTED)
def test_formula(name, checkpoint, inputs, tmp_path):
    options = {"gamma": 0.5} if name == "wagle" else {}
    write_scores(
        tmp_path / "s", f"wagle.scores.{name}", checkpoint, inputs, options=options, seed=0
    )
    weights, forget, retain, norms = (
        load_file(p)
        for p in (
            checkpoint / "model.safetensors",
            inputs["forget"],
            inputs["retain"],
            inputs["activations"],
        )
    )
    scores = load_file(tmp_path / "s")
    assert set(scores) == (set(norms) if name == "wanda" else set(weights))
    for parameter, value in scores.items():
        arrays = [
            x[parameter].numpy().astype(np.float64) if parameter in x else None
            for x in (weights, forget, retain, norms)
        ]
        expected = EXPECTED[name](*arrays)
        np.testing.assert_allclose(
            value.numpy(), expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max()
        )  # fp32 cancellation


@pytest.mark.parametrize("name", ["random", *EXPECTED])
@pytest.mark.parametrize("ratio", [0.05, 0.8, 1.0])
def test_masks_have_their_budget(name, ratio, checkpoint, inputs, tmp_path):
    options = {"gamma": 1e-6} if name == "wagle" else {}
    write_scores(
        tmp_path / "s", f"wagle.scores.{name}", checkpoint, inputs, options=options, seed=3
    )
    select = "rows" if name == "wanda" else "global"
    paths, ratios = [tmp_path / "other", tmp_path / "m"], [0.5, ratio]
    _, rows = write_masks(
        paths, tmp_path / "s", checkpoint, ratios, select, {"selection": name, "gamma": ""}
    )
    header, loaded = masks.read_header(tmp_path / "m"), dict(masks.load(tmp_path / "m"))
    shapes = tensors.parameter_shapes(checkpoint)
    assert list(loaded) == list(shapes)
    assert sum(row["selected"] for row in rows) == header["k"]
    if name != "wanda":
        assert header["k"] == topk.budget(ratio, header["n"])
        return
    scored = set(load_file(tmp_path / "s"))
    for parameter, mask in loaded.items():
        if parameter in scored:
            assert (mask.sum(1) == topk.budget(ratio, mask.shape[1])).all()
        else:
            assert (
                mask.all()
            )  # embeddings, norms, head: the baseline's true budget is above the nominal ratio
    assert ratio == 1.0 or header["k"] > topk.budget(ratio, header["n"])


@pytest.mark.parametrize("name", EXPECTED)
def test_a_few_rows_at_a_time_give_the_bytes_of_the_whole(
    name, checkpoint, inputs, tmp_path, monkeypatch
):
    options = {"gamma": 0.5} if name == "wagle" else {}
    results = []
    for piece in (1 << 18, 40):
        monkeypatch.setattr("wagle.attribution.attribution.PIECE", piece)
        stats = write_scores(
            tmp_path / "s", f"wagle.scores.{name}", checkpoint, inputs, options=options, seed=0
        )
        results.append((stats, (tmp_path / "s").read_bytes()))
    assert results[0] == results[1]


def test_wagle_reports_which_term_dominates(checkpoint, inputs, tmp_path):
    shares = {}
    for gamma in (1e-9, 1e9):
        shares[gamma] = write_scores(
            tmp_path / "s",
            "wagle.scores.wagle",
            checkpoint,
            inputs,
            options={"gamma": gamma},
            seed=0,
        )["share_first_term"]
    assert shares[1e-9] < 0.05
    assert shares[1e9] > 0.5


def test_random_scores_follow_the_seed(checkpoint, tmp_path):
    files = []
    for i, seed in enumerate((1, 1, 2)):
        write_scores(
            tmp_path / str(i), "wagle.scores.random", checkpoint, {}, options={}, seed=seed
        )
        files.append((tmp_path / str(i)).read_bytes())
    assert files[0] == files[1] != files[2]


def test_gamma_must_be_positive(checkpoint, inputs, tmp_path):
    with pytest.raises(WagleError, match="positive"):
        write_scores(
            tmp_path / "s", "wagle.scores.wagle", checkpoint, inputs, options={"gamma": 0.0}, seed=0
        )


def test_non_finite_scores_are_named(checkpoint, inputs, tmp_path):
    broken = load_file(inputs["forget"])
    broken["model.norm.weight"][0] = float("nan")
    inputs["forget"] = str(tmp_path / "broken.safetensors")
    tensors.write(
        inputs["forget"],
        {n: list(x.shape) for n, x in broken.items()},
        torch.float32,
        broken.items(),
    )
    with pytest.raises(WagleError, match=r"model\.norm\.weight has NaN"):
        write_scores(tmp_path / "s", "wagle.scores.snip", checkpoint, inputs, options={}, seed=0)
