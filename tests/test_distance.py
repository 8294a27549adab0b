"""Distances of artifacts, and Holm's correction against its definition."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from wagle.audit.distance import distance
from wagle.evaluation.statistics import holm


def far(tmp_path, one, two, suffix=".json"):
    paths = [tmp_path / f"{name}{suffix}" for name in ("one", "two")]
    for path, value in zip(paths, (one, two), strict=True):
        path.write_text(value if isinstance(value, str) else json.dumps(value))
    return distance(*paths)


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        ({"a": 1.0}, {"a": 1.0}, 0.0),
        ({"a": [1.0, 2.0]}, {"a": [1.0, 2.002]}, 0.002 / 2.002),
        ({"a": 1.0}, {"b": 1.0}, math.inf),
        ([1], [1, 2], math.inf),
        ({"a": "x"}, {"a": "y"}, math.inf),
        ({"a": True}, {"a": 1.5}, math.inf),
        ({"a": None}, {"a": 0.0}, math.inf),
        ({"a": math.nan}, {"a": math.nan}, 0.0),
        ({"a": math.nan}, {"a": 1.0}, math.inf),
    ],
)
def test_json(tmp_path, one, two, expected):
    assert far(tmp_path, one, two) == pytest.approx(expected)


def test_csv_and_text(tmp_path):
    assert far(tmp_path, "a,1.0\n", "a,1.001\n", ".csv") == pytest.approx(0.001 / 1.001)
    assert far(tmp_path, "a,1.0\n", "b,1.0\n", ".csv") == math.inf
    assert far(tmp_path, "| x | 0.500 ± 0.1 |", "| x | 0.501 ± 0.1 |", ".md") == pytest.approx(
        0.001 / 0.501
    )
    assert far(tmp_path, "| x | 0.500 |", "| y | 0.500 |", ".md") == math.inf
    assert far(tmp_path, "<svg/>", "<svg></svg>", ".svg") is None


def test_tensors_and_masks(tmp_path):
    save_file({"w": torch.tensor([1.0, -4.0])}, tmp_path / "a.safetensors")
    save_file({"w": torch.tensor([1.5, -4.0])}, tmp_path / "b.safetensors")
    assert distance(tmp_path / "a.safetensors", tmp_path / "b.safetensors") == pytest.approx(
        0.5 / 4
    )
    save_file({"w": torch.tensor([0b1111, 0], dtype=torch.uint8)}, tmp_path / "a.safetensors")
    save_file({"w": torch.tensor([0b1110, 0], dtype=torch.uint8)}, tmp_path / "b.safetensors")
    assert distance(tmp_path / "a.safetensors", tmp_path / "b.safetensors") == pytest.approx(1 / 16)
    save_file({"v": torch.zeros(2)}, tmp_path / "b.safetensors")
    assert distance(tmp_path / "a.safetensors", tmp_path / "b.safetensors") == math.inf


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_its_definition(values):
    adjusted = holm(values)
    order = np.argsort(values, kind="stable")
    for rank, i in enumerate(order):
        expected = max(
            min(1.0, (len(values) - r) * values[j]) for r, j in enumerate(order[: rank + 1])
        )
        assert adjusted[i] == pytest.approx(expected)
    assert all(a >= p for a, p in zip(adjusted, values, strict=True))


def test_holm_skips_what_is_no_comparison():
    assert holm([0.01, math.nan, 0.04])[0] == pytest.approx(0.02)
    assert math.isnan(holm([0.01, math.nan])[1])
