"""The statistics engine: exact properties, cases by hand, three failures that are gone."""

import math

import numpy as np
import pytest
from scipy import stats

from wagle.errors import WagleError
from wagle.evaluation import candidates, row_parts
from wagle.evaluation import statistics as engine
from wagle.evaluation.candidates import matched
from wagle.evaluation.statistics import difference, holm, overall, seeds_needed, verdict

RNG = np.random.default_rng(0)
A, B = RNG.random((2, 4, 30))


def close(a, b):
    return pytest.approx(a, rel=1e-9, abs=1e-12) == b


def same(a, b):
    return all(
        close(getattr(a, k), getattr(b, k)) for k in ("value", "low", "high", "se", "df", "p")
    )


def test_variance_components_by_hand():
    """d = [[1, 2, 3], [3, 4, 8]]: MS rows 6.5, seeds 13.5, interaction 1.5."""
    d = np.array([[1.0, 2, 3], [3, 4, 8]])
    found = difference(d, np.zeros((2, 3)), least_seeds=2)
    assert close(found.value, 3.5)
    assert close(found.rows_variance, (6.5 - 1.5) / 6) and close(found.seeds_variance, 13.5 / 6)
    assert close(found.se**2, 18.5 / 6) and found.seeds_df == 1
    assert close(found.df, 18.5 / 13.5)  # the first power: 1 / df = (B / V) / 1
    half = stats.t.ppf(0.975, 18.5 / 13.5) * math.sqrt(18.5 / 6)
    assert close(found.low, 3.5 - half) and close(found.high, 3.5 + half)


@pytest.mark.parametrize("options", [{}, {"seeds": ("abcd", "efgh")}, {"paired_rows": False}])
def test_symmetries(options):
    found = difference(A, B, **options)
    other = difference(B, A, **options)
    assert (
        close(found.value, -other.value)
        and close(found.low, -other.high)
        and close(found.p, other.p)
    )
    order, turn = RNG.permutation(30), RNG.permutation(4)
    assert same(found, difference(A[:, order], B[:, order], **options))
    assert same(found, difference(A[turn], B[turn], **options))
    moved = difference(A + 0.25, B, **options)
    assert (
        close(moved.value, found.value + 0.25)
        and close(moved.se, found.se)
        and close(moved.df, found.df)
    )
    scaled = difference(100 * A, 100 * B, **options)
    assert close(scaled.se, 100 * found.se) and close(scaled.p, found.p)


def test_unpaired_rows_and_seeds_do_not_mind_order():
    found = difference(A, B, seeds=("abcd", "efgh"), paired_rows=False)
    assert same(found, difference(A[::-1, ::-1], B, seeds=("abcd", "efgh"), paired_rows=False))


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_or_two_seeds_are_a_paired_t_test_over_rows(seeds):
    found, wanted = (
        difference(A[:seeds], B[:seeds]),
        stats.ttest_rel(A[:seeds].mean(0), B[:seeds].mean(0)),
    )
    interval = wanted.confidence_interval()
    assert close(found.p, wanted.pvalue) and close(found.low, interval.low) and close(found.df, 29)
    assert not found.covers_seeds and found.covers.endswith(
        f"not the spread over seeds: {seeds} of at least 3"
    )


def test_no_seed_effect_gives_the_paired_t_test_over_rows():
    rows = RNG.random((2, 30))
    found, wanted = difference(*(np.tile(x, (3, 1)) for x in rows)), stats.ttest_rel(*rows)
    assert close(found.p, wanted.pvalue) and close(found.df, 29) and close(found.seeds_variance, 0)


def test_other_rows_of_one_seed_are_welch():
    a, b = RNG.random((1, 12)), RNG.random((1, 30))
    found, wanted = (
        difference(a, b, paired_rows=False),
        stats.ttest_ind(a[0], b[0], equal_var=False),
    )
    assert close(found.p, wanted.pvalue) and close(found.df, wanted.df)


def test_metric_without_rows_is_a_t_test_over_seeds():
    a, b = RNG.random((2, 5))
    found = difference(a, b)
    assert close(found.p, stats.ttest_rel(a, b).pvalue) and found.n_rows == 0
    assert found.covers == "5 paired seeds; not the choice of rows"
    free = difference(a, b, seeds=(range(5), range(5, 10)))
    wanted = stats.ttest_ind(a, b, equal_var=False)
    assert close(free.se, math.hypot(a.std(ddof=1), b.std(ddof=1)) / math.sqrt(5)) and close(
        free.df, wanted.df
    )
    few = difference(a[:2], b[:2])
    assert few.se == math.inf and few.p == 1 and few.covers.startswith("nothing")


def test_components():
    c, d = RNG.random((2, 4, 7)) + RNG.normal(0, 1, (2, 1, 7))
    first, second = {"x": A, "y": c}, {"y": d, "x": B}
    found = difference(first, second)
    assert close(found.value, ((A - B).mean() + (c - d).mean()) / 2) and found.n_rows == 37
    alone = difference(A, B).rows_variance, difference(c, d).rows_variance
    assert close(found.rows_variance, sum(alone) / 4)
    u = ((A - B).mean(1) + (c - d).mean(1)) / 2
    assert close(found.seeds_variance, u.var(ddof=1) / 4)
    assert same(
        difference({"x": A, "y": c}, {"x": B, "y": d}, weights={"x": 1, "y": 0}), difference(A, B)
    )
    mixed = difference({"x": A, "FQ": c[:, 0]}, {"x": B, "FQ": d[:, 0]})
    assert mixed.covers == "4 paired seeds and paired rows (but not those of FQ)"


def test_shared_seeds_are_paired_by_label():
    found = difference(A, B[[2, 0, 1, 3]], seeds=([1, 2, 3, 4], [3, 1, 2, 4]))
    assert same(found, difference(A, B))
    part = difference(A, B, seeds=([1, 2, 3, 4], [2, 3, 4, 5]))
    assert same(part, difference(A[1:], B[:3])) and part.n_seeds == 3
    free = difference(A, B[:3], seeds=([1, 2, 3, 4], [4, 5, 6]))
    assert free.covers == "4 and 3 independent seeds and paired rows" and close(
        free.value, A.mean() - B[:3].mean()
    )


def test_equal_cells():
    found = difference(A, A)
    assert (found.value, found.se, found.p, found.low, found.high) == (0, 0, 1, 0, 0)
    moved = difference(A + 0.1, A)
    assert moved.se == 0 and moved.p == 0 and close(moved.low, 0.1)


@pytest.mark.parametrize(
    ("first", "second", "options"),
    [
        (np.where(A > 0.9, np.nan, A), B, {}),
        (A, np.where(B > 0.9, np.inf, B), {}),
        (A[:, :5], B, {}),
        (A[:3], B, {}),
        (A, B, {"seeds": ([1, 2, 3, 3], [1, 2, 3, 4])}),
        (A, B, {"seeds": ([1, 2, 3], [1, 2, 3])}),
        (A, B, {"level": 1.0}),
        ({"x": A}, {"y": B}, {}),
        ({"x": A, "y": A[:2]}, {"x": B, "y": B[:2]}, {}),
        ({"x": A}, {"x": B}, {"weights": {"z": 1}}),
        ({}, {}, {}),
        (A[None], B[None], {}),
        (np.empty((3, 0)), np.empty((3, 0)), {}),
        ([[1, 2], [3]], [[1, 2], [3]], {}),
    ],
)
def test_refusals(first, second, options):
    with pytest.raises(WagleError):
        difference(first, second, **options)


def made(value, se, df=10.0, seeds=3, rows_variance=None):
    rows_variance = 0.5 * se**2 if rows_variance is None else rows_variance
    half = stats.t.ppf(0.975, df) * se
    return engine.Difference(
        value=value,
        low=value - half,
        high=value + half,
        se=se,
        df=df,
        p=0.5,
        n_seeds=seeds,
        n_rows=100,
        covers="",
        covers_seeds=seeds >= 3,
        level=0.95,
        rows_variance=rows_variance,
        seeds_variance=se**2 - rows_variance,
        seeds_df=2.0,
    )


def test_verdicts():
    higher = "not reproduced: higher, but by less than the tolerance"
    assert verdict(made(0.03, 0.01), 0.01) == "reproduced"
    assert verdict(made(0.005, 0.001), 0.01) == higher
    assert verdict(made(-0.03, 0.01), 0.01) == "not reproduced: lower"
    assert verdict(made(0.0, 0.001), 0.01) == "not reproduced: no difference"
    assert verdict(made(0.005, 0.001), -0.01) == "reproduced"  # not worse by more than a point
    assert verdict(made(-0.005, 0.001), -0.01) == "reproduced"
    assert verdict(made(-0.05, 0.001), -0.01) == "not reproduced: lower"
    assert verdict(made(0.03, 0.02), 0.01).startswith("undecided: needs about ")
    assert (
        verdict(made(0.03, 0.02, rows_variance=0.0004), 0.01)
        == "undecided: needs more rows, not seeds"
    )
    assert verdict(made(0.03, 0.001, seeds=1), 0.01) == "undecided: needs about 3 seeds"
    assert verdict(made(0.03, 0.001, seeds=1), 0.01, least_seeds=1) == "reproduced"
    near = made(-0.015, 0.01)  # below the tolerance by 2.5 errors: enough for one pair, not for ten
    assert verdict(near, 0.01) == "not reproduced: lower" and verdict(near, 0.01, 10).startswith(
        "undecided"
    )
    with pytest.raises(WagleError):
        verdict(made(math.nan, 0.1))
    with pytest.raises(WagleError):
        verdict(made(0.1, 0.1), pairs=0)


def test_overall():
    assert overall(["reproduced", "reproduced"]) == "reproduced"
    assert (
        overall(
            ["reproduced", "undecided: needs about 5 seeds", "undecided: needs about 12 seeds"]
        ).split()[3]
        == "12"
    )
    assert overall(
        ["undecided: needs about 5 seeds", "undecided: needs more rows, not seeds"]
    ).endswith("not seeds")
    assert (
        overall(["undecided: needs about 5 seeds", "not reproduced: lower"])
        == "not reproduced: lower"
    )
    with pytest.raises(WagleError):
        overall([])


def test_seeds_needed_decides():
    """Runs of that many seeds, with the same variances, are decided more often than not."""
    rows, runs = RNG.normal(0, 0.1, (1, 200)), RNG.normal(0, 0.02, (4, 1))
    a = rows + runs - runs.mean() - rows.mean() + 0.03
    few = difference(a[:3] - a[:3].mean() + 0.03, np.zeros((3, 200)))
    needed = seeds_needed(few, 0.01)
    assert 3 < needed < 30
    hits = 0
    for _ in range(200):
        d = (
            RNG.normal(0, 0.1, (1, 200))
            + RNG.normal(0, math.sqrt(3 * few.seeds_variance), (int(needed), 1))
            + 0.03
        )
        hits += difference(d, np.zeros_like(d)).low > 0
    assert hits > 100
    assert (
        seeds_needed(made(0.03, 0.02, seeds=1), 0.01) == math.inf
        or seeds_needed(made(0.03, 0.001, seeds=1)) == 3
    )


def test_holm():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert (
        math.isnan(holm([math.nan, 0.5])[0]) and holm([math.nan, 0.5])[1] == 0.5 and holm([]) == []
    )
    with pytest.raises(WagleError):
        holm([1.5])


def test_parts_add_up_to_their_statistics():
    x, y = RNG.normal(0.4, 1, 50), RNG.normal(0, 1, 70).round(1)
    assert close(sum(p.mean() for p in row_parts.ks_parts(x, y)), stats.ks_2samp(x, y).statistic)
    u = stats.mannwhitneyu(x.round(1), y).statistic / (50 * 70)
    assert close(sum(p.mean() for p in row_parts.auroc_parts(x.round(1), y)), u)
    sets = [RNG.random(n) for n in (10, 20, 30)]
    assert close(
        sum(p.mean() for p in row_parts.harmonic_parts(sets)), stats.hmean([s.mean() for s in sets])
    )
    nudged = [s + e for s, e in zip(sets, (1e-6, 0, 0), strict=True)]
    slope = sum(p.mean() for p in row_parts.harmonic_parts(nudged)) - sum(
        p.mean() for p in row_parts.harmonic_parts(sets)
    )
    value = stats.hmean([s.mean() for s in sets])
    assert slope / 1e-6 == pytest.approx((value / sets[0].mean()) ** 2 / 3, rel=1e-4)
    assert sum(p.mean() for p in row_parts.harmonic_parts([np.zeros(3), np.ones(2)])) == 0
    for wrong in (lambda: row_parts.ks_parts([], y), lambda: row_parts.auroc_parts([math.nan], y),
                  lambda: row_parts.harmonic_parts([np.array([-1.0])])):  # fmt: skip
        with pytest.raises(WagleError):
            wrong()


def test_matched():
    first = [([0.2, 0.4, 0.8], [0.9, 0.8, 0.4]), ([0.3, 0.9], [0.8, 0.2])]
    second = [([0.7, 0.1], [0.3, 0.9]), ([0.2, 0.8], [0.9, 0.3])]
    found = matched(first, second, 0.5)
    assert (found.low, found.high) == (0.3, 0.7)
    assert found.first == pytest.approx([0.7, 0.6]) and found.second == pytest.approx([0.5, 0.6])
    assert matched(first, second).at == pytest.approx(0.5)
    assert matched(first, first, 0.4).first[0] == 0.8  # at a point, that point
    rows = [(x, np.outer(y, [1.0, 2.0])) for x, y in first]
    assert matched(rows, rows, 0.5).first == pytest.approx(np.array([[0.7, 1.4], [0.6, 1.2]]))
    for at in (0.29, 0.71):
        with pytest.raises(candidates.ExtrapolationError):
            matched(first, second, at)
    with pytest.raises(ValueError):
        matched([([0.0, 0.1], [1, 1])], [([0.2, 0.3], [1, 1])])
    with pytest.raises(WagleError):
        matched([([0.0, 0.1], [1, math.nan])], second)
    beaten = [([0.2, 0.3, 0.4], [0.9, 0.1, 0.7])]  # the middle trial is worse in both
    assert matched(beaten, beaten, 0.3, frontier=True).first == pytest.approx([0.8])


def test_pick_then_test_takes_the_better_and_never_its_own_values():
    good, bad = A + 1, A
    cell, picks = candidates.pick_then_test({0.8: bad, 0.9: good})
    assert set(picks) == {0.9} and len(picks) == 8 and (cell == good).all()
    lucky = np.zeros((2, 4))
    lucky[0, 0] = 100  # makes it the pick for every seed and fold but its own
    cell, _ = candidates.pick_then_test({"plain": np.ones((2, 4)), "lucky": lucky})
    assert cell[0, 0] == 1
    many, _ = candidates.pick_then_test({1: {"x": A, "FQ": A[:, 0]}, 2: {"x": B, "FQ": B[:, 0]}})
    assert (
        many["x"].shape == A.shape and many["FQ"].shape == (4,) and np.isin(many["x"], [A, B]).all()
    )
    assert candidates.pick_then_test({1: A[:, 0], 2: B[:, 0]})[0].shape == (4,)
    for wrong in ({}, {1: A, 2: B[:3]}, {1: A[:1], 2: B[:1]}):
        with pytest.raises(WagleError):
            candidates.pick_then_test(wrong)


def simulated(rng, count, rows, row_sd, inner_sd, seed_sd, effect, correlation=0.9, seeds=3):
    """Pairs of cells, (count, 2, seeds, rows)."""
    r = rng.normal(0, row_sd, (count, 2, 1, rows))
    r[:, 1] = correlation * r[:, 0] + math.sqrt(1 - correlation**2) * r[:, 1]
    x = r + rng.normal(0, seed_sd, (count, 2, seeds, 1))
    x += rng.normal(0, inner_sd, (count, 2, seeds, rows))
    x[:, 0] += effect
    return x


def test_a_difference_in_correlated_rows_is_found():
    """Three points at a row correlation of 0.9; with rows as independent, mostly undecided."""
    cells = simulated(np.random.default_rng(1), 200, 400, 0.3, 0.05, 0.0, 0.03)
    new = np.mean([difference(a, b).low > 0 for a, b in cells])
    spread = cells.var(-1, ddof=1).mean(-1) / 400  # of each cell
    gap = cells[:, 0].mean((1, 2)) - cells[:, 1].mean((1, 2))
    old = np.mean(gap > 1.97 * np.sqrt(spread.sum(1)))
    assert new > 0.95 and old < 0.35


def test_a_spread_over_seeds_is_no_difference():
    """A seed SD of 0.02 without a difference: 5 % false positives; over rows alone most are."""
    cells = simulated(np.random.default_rng(2), 1000, 400, 0.2, 0.1, 0.02, 0.0)
    new = np.mean([difference(a, b).p < 0.05 for a, b in cells])
    old = np.mean(stats.ttest_rel(cells[:, 0].mean(1), cells[:, 1].mean(1), axis=1).pvalue < 0.05)
    assert new < 0.075 and old > 0.4  # 0.06 and three standard errors of 1000 draws, below


def test_error_of_the_ks_statistic_is_right_where_that_of_its_p_is_not():
    """Cells of one truth on shared rows: standard error of the difference of D, and its spread."""
    rng, found, p, boot = np.random.default_rng(3), [], [], []
    for _ in range(200):
        rows = rng.normal(0, 1, (2, 1, 1, 60)) + np.array([0.5, 0])[:, None, None, None]
        x = rows + 0.5 * rng.normal(0, 1, (2, 2, 3, 60))
        parts = [[row_parts.ks_parts(x[0, c, s], x[1, c, s]) for s in range(3)] for c in (0, 1)]
        cells = [
            {"forget": np.array([f for f, _ in side]), "retain": np.array([r for _, r in side])}
            for side in parts
        ]
        found.append(difference(*cells, weights={"forget": 1, "retain": 1}))
    for _ in range(40):
        x, y = rng.normal(0, 1, (2, 60))
        p.append(stats.ks_2samp(x, y, method="asymp").pvalue)
        again = [(rng.choice(x, 60), rng.choice(y, 60)) for _ in range(20)]
        boot.append(np.mean([stats.ks_2samp(*pair, method="asymp").pvalue for pair in again]))
    ratio = np.mean([f.se for f in found]) / np.std([f.value for f in found])
    assert 0.8 < ratio < 1.25 and np.mean([f.p < 0.05 for f in found]) < 0.1
    assert np.mean(boot) < np.mean(p) - 0.15  # drawn again, rows look more different than they are


def test_a_decision_shows_the_interval_that_decided():
    """For a yes the plain one; for a no Bonferroni's, which is the plain one at a higher level."""
    yes = engine.decide(made(0.03, 0.01), 0.01, pairs=4)
    assert (yes.verdict, yes.pairs, yes.level) == ("reproduced", 1, 0.95)
    half = stats.t.ppf(0.975, 10) * 0.01
    assert (yes.low, yes.high) == pytest.approx((0.03 - half, 0.03 + half))
    no = engine.decide(made(-0.05, 0.01), 0.01, pairs=4)
    assert (no.verdict, no.pairs, no.level) == ("not reproduced: lower", 4, 1 - 0.05 / 4)
    half = stats.t.ppf(1 - 0.05 / 8, 10) * 0.01
    assert (no.low, no.high) == pytest.approx((-0.05 - half, -0.05 + half)) and no.high < 0.01
