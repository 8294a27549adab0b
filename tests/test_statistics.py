"""Paired comparison against scipy and hand values, and its coverage on made-up cells."""

import numpy as np
import pytest
from scipy import stats

from wagle.errors import WagleError
from wagle.evaluation.statistics import paired


def test_against_scipy():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(3, 40)), rng.normal(0.3, size=(4, 40))
    found = paired(first, second)
    reference = stats.ttest_rel(second.mean(0), first.mean(0))
    interval = reference.confidence_interval(0.95)
    assert found.p == pytest.approx(reference.pvalue, rel=1e-12)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert (found.rows, found.seeds) == (40, 3)


def test_direction_and_degenerate_cells():
    assert paired([0.0, 0.0], [1.0, 1.0]) == (1.0, 0.0, 1.0, 1.0, 0.0, 2, 1)
    assert paired([0.5, 0.2], [0.5, 0.2]).p == 1.0


def test_seeds_are_no_extra_evidence():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=20), rng.normal(size=20)
    assert paired([first] * 6, [second] * 6).p == pytest.approx(paired(first, second).p)


def test_interval_covers_a_true_difference_of_zero():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        found = paired(rng.normal(size=(2, 25)), rng.normal(size=(2, 25)))
        covered += found.low <= 0 <= found.high
    assert 0.92 <= covered / 400 <= 0.98


@pytest.mark.parametrize(
    ("first", "second"),
    [([1.0], [1.0]), ([1.0, 2.0], [1.0, 2.0, 3.0]), ([1.0, np.nan], [1.0, 2.0])],
)
def test_refusals(first, second):
    with pytest.raises(WagleError):
        paired(first, second)
