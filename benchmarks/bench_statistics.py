"""Error rates of the interval of a difference, in simulated cells whose truth is known.

A cell's value of a row is f(location + row effect + seed effect + interaction), all normal; f clips
to [0, 1] (like Rouge-L) or thresholds (right or wrong). Row effects of both cells correlate, seed
effects do so by one half; the seed SD is that of a cell's mean, in the metric's unit.
Truth is the mean over all rows and runs. Row SD 0.2 and interaction SD 0.1 before clipping;
for binary rows 1 and 0.5 before the threshold.

    python benchmarks/bench_statistics.py [--replications 2000] [--out results/bench_statistics.md]

Settings whose rate lies outside the limits are simulated again, with new numbers and ten times as
many replications, since the worst of 288 noisy rates is worse than any true one.
"""

import argparse
import math
import time
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import optimize, stats

from wagle.evaluation import candidates, row_parts
from wagle.evaluation import statistics as engine

CORRELATIONS, SEED_SDS, SEEDS, ROWS = (
    (0, 0.5, 0.9),
    (0, 0.01, 0.02, 0.05),
    range(2, 7),
    (40, 100, 400),
)
KINDS = {
    "continuous": (0.5, 0.2, 0.1),
    "binary": (0.0, 1.0, 0.5),
}  # location, SD of rows, of interaction
EFFECT = 0.03
SETTING = ["kind", "rows", "correlation", "seed_sd", "seeds"]
METHODS = ("new", "paired rows", "t over seeds", "independent rows")
norm = stats.norm


def expectation(kind: str, at: float, sd: float) -> float:
    """Mean of f(normal(at, sd))."""
    if kind == "binary":
        return float(norm.cdf(at / sd))

    def up(x):  # E max(0, z - x)
        return sd * norm.pdf((at - x) / sd) + (at - x) * norm.cdf((at - x) / sd)

    return float(up(0) - up(1))


def design(kind: str, seed_sd: float, effect: float) -> tuple[float, float, float]:
    """Locations of both cells and the seed SD before f, for a true difference of `effect`."""
    at, rows, inner = KINDS[kind]
    sd = math.hypot(rows, inner)
    slope = (expectation(kind, at + 1e-4, sd) - expectation(kind, at - 1e-4, sd)) / 2e-4
    before = seed_sd / slope
    sd = math.hypot(sd, before)
    want = expectation(kind, at, sd) + effect
    return optimize.brentq(lambda x: expectation(kind, x, sd) - want, at - 1, at + 1), at, before


def noise(
    rng, replications: int, rows: int, correlation: float, seeds: int = 6, shared: float = 0.5
):
    """Standard normal row effects, interactions and seed effects: (replications, 2 cells, ...)."""

    def pair(shape, rho):
        x = rng.standard_normal((replications, 2, *shape), dtype=np.float32)
        x[:, 1] = rho * x[:, 0] + math.sqrt(1 - rho**2) * x[:, 1]
        return x

    return pair((1, rows), correlation), pair((seeds, rows), 0.0), pair((seeds, 1), shared)


def cells(kind: str, parts, seed_sd: float, effect: float) -> tuple[np.ndarray, np.ndarray]:
    first, second, before = design(kind, seed_sd, effect)
    _, rows, inner = KINDS[kind]
    r, i, s = parts
    x = np.float32(rows) * r + np.float32(inner) * i
    x += np.float32(before) * s
    x += np.array([first, second], dtype=np.float32)[:, None, None]
    x = (x > 0).astype(np.float32) if kind == "binary" else np.clip(x, 0, 1, out=x)
    return x[:, 0], x[:, 1]


def new(a, b, paired_seeds=True, paired_rows=True):
    least = engine.LEAST_SEEDS
    crossed = min(a.shape[1], b.shape[1]) >= least
    m = engine.moments([a], [b], [1.0], paired_rows, paired_seeds, crossed)
    return m.value, np.sqrt(m.rows_variance + m.seeds_variance), m.df


def estimates(a, b) -> dict[str, tuple]:
    """(value, se, df) of each method for cells (replications, seeds, rows)."""
    m, n = a.shape[1:]
    rows, seeds = a.mean(1) - b.mean(1), a.mean(2) - b.mean(2)
    spread = sum(x.var(2, ddof=1).mean(1) for x in (a, b)) / n
    value = rows.mean(1)
    return {
        "new": new(a, b),
        "paired rows": (value, rows.std(1, ddof=1) / math.sqrt(n), n - 1),
        "t over seeds": (value, seeds.std(1, ddof=1) / math.sqrt(m), m - 1),
        "independent rows": (value, np.sqrt(spread), n - 1),
    }


def rates(found: tuple, truth: float) -> tuple[float, float, float]:
    """Coverage, share of intervals without 0, mean width."""
    value, se, df = found
    half = stats.t.ppf(0.975, df) * se
    # float32 sums: a difference of two equal shares may miss 0 by rounding
    return (
        np.mean(np.abs(value - truth) <= half + 1e-6),
        np.mean(np.abs(value) > half + 1e-6),
        np.mean(2 * half),
    )


def grid(replications: int, rng) -> pd.DataFrame:
    """One row for each setting, true difference and method."""
    out = []
    for n, rho in product(ROWS, CORRELATIONS):
        parts = noise(rng, replications, n, rho)
        for kind, sd, effect in product(KINDS, SEED_SDS, (0.0, EFFECT)):
            a, b = cells(kind, parts, sd, effect)
            for m in SEEDS:
                for method, found in estimates(a[:, :m], b[:, :m]).items():
                    out.append((kind, n, rho, sd, m, effect, method, *rates(found, effect)))
    return pd.DataFrame(out, columns=[*SETTING, "effect", "method", "cover", "rejected", "width"])


def confirm(suspects: pd.DataFrame, replications: int, rng, size: int = 2000) -> list[float]:
    """The new engine's coverage again, in chunks that fit in memory."""
    out = []
    for c in suspects.itertuples():
        chunks = []
        for _ in range(replications // size):
            parts = noise(rng, size, c.rows, c.correlation, c.seeds)
            chunks.append(rates(new(*cells(c.kind, parts, c.seed_sd, c.effect)), c.effect)[0])
        out.append(np.mean(chunks))
    return out


def others(replications: int, rng) -> list[tuple[str, str, str]]:
    """False positives and power of the new engine where the design is not one paired block."""
    out = []
    for n, sd, rho in product((40, 400), (0, 0.02, 0.05), (0.5, 0.9)):
        for m in ((3, 3), (3, 6), (6, 6), None):
            name = f"{m[0]} and {m[1]} independent seeds" if m else "3 paired seeds, other rows"
            found = []
            for effect in (0.0, EFFECT):
                parts = noise(rng, replications, n, rho if m else 0.0, shared=0.0 if m else 0.5)
                a, b = cells("continuous", parts, sd, effect)
                x = (a[:, : m[0]], b[:, : m[1]], False) if m else (a[:, :3], b[:, :3], True)
                found.append(rates(new(*x, paired_rows=m is not None), effect)[1])
            if m or rho == 0.5:
                name += f", {n} rows, seed SD {sd}" + (f", correlation {rho}" if m else "")
                out.append((name, *map(percent, found)))
    for sd in (
        0,
        0.02,
        0.05,
    ):  # like UT Avg: three sets of rows that share the seed effect, a scalar
        found = []
        for effect in (0.0, EFFECT):
            first, second = [], []
            shared = noise(rng, replications, 2, 0.5, 3)[2]
            for n in (400, 100, 117):
                r, i, _ = noise(rng, replications, n, 0.5, 3)
                a, b = cells("continuous", (r, i, shared), sd, effect)
                first.append(a), second.append(b)
            scalar = 0.5 + 0.03 * rng.standard_normal((replications, 2, 3, 1)) + 0.5 * sd * shared
            first.append(scalar[:, 0] + effect), second.append(scalar[:, 1])
            m = engine.moments(first, second, [0.25] * 4, True, True, True)
            found.append(
                rates((m.value, np.sqrt(m.rows_variance + m.seeds_variance), m.df), effect)[1]
            )
        out.append(
            (f"mean of 3 sets of rows and a scalar, 3 seeds, seed SD {sd}", *map(percent, found))
        )
    return out


def two_seeds(replications: int, rng) -> list[tuple]:
    """Coverage of rows alone, for the truth of these runs and of all; and of both, crossed."""
    out = []
    for n, sd in product((40, 400), SEED_SDS):
        parts = noise(rng, replications, n, 0.5, 2)
        a, b = cells("continuous", parts, sd, 0.0)
        first, _, before = design("continuous", sd, 0.0)
        grid_ = np.linspace(-1, 2, 3001)
        table = [expectation("continuous", x, math.hypot(*KINDS["continuous"][1:])) for x in grid_]
        runs = np.interp(first + before * parts[2][..., 0], grid_, table).mean(2)
        alone = rates(new(a, b), runs[:, 0] - runs[:, 1])[0], rates(new(a, b), 0.0)[0]
        m = engine.moments([a], [b], [1.0], True, True, True)
        crossed = rates((m.value, np.sqrt(m.rows_variance + m.seeds_variance), m.df), 0.0)
        out.append((n, sd, *alone, crossed[0], crossed[2]))
    return out


def bootstrap(replications: int, rng, draws: int = 400) -> list[tuple]:
    """Coverage of the percentile bootstrap of rows and seeds, crossed: why it was not taken."""
    out = []
    for m, sd in product((3, 6), (0, 0.02, 0.05)):
        parts = noise(rng, replications, 400, 0.9, m)
        a, b = cells("continuous", parts, sd, 0.0)
        d = (a - b).astype(np.float64)
        hit = 0
        for x in d:
            rows = rng.multinomial(400, np.full(400, 1 / 400), draws) / 400
            seeds = rng.multinomial(m, np.full(m, 1 / m), draws) / m
            low, high = np.quantile(np.einsum("dr,dr->d", seeds @ x, rows), (0.025, 0.975))
            hit += low <= 0 <= high
        out.append((m, sd, hit / len(d), rates(new(a, b), 0.0)[0]))
    return out


def forget_quality(rng, replications: int = 400, draws: int = 100) -> list[tuple]:
    """True SD and mean standard error: of p by bootstrap over rows, of D by it and `ks_parts`."""

    def ks(x, y):  # D along the last axis
        both = np.concatenate([x, y], -1)
        order = np.argsort(both, -1, kind="stable")
        step = np.where(order < x.shape[-1], 1 / x.shape[-1], -1 / y.shape[-1])
        return np.abs(np.cumsum(step, -1)).max(-1)

    def p(d, n):
        return stats.kstwobign.sf(d * math.sqrt(n / 2))

    out = []
    for n, shift in product((40, 400), (0.0, 0.2, 0.5)):
        x, y = rng.standard_normal((2, replications, n))
        x += shift
        d = ks(x, y)
        boot = np.empty((replications, draws))
        for k in range(replications):
            i, j = rng.integers(n, size=(2, draws, n))
            boot[k] = ks(x[k][i], y[k][j])
        parts = [row_parts.ks_parts(u, v) for u, v in zip(x, y, strict=True)]
        linear = np.mean([math.sqrt(sum(q.var(ddof=1) / n for q in pair)) for pair in parts])
        of_p = p(d, n).mean(), p(d, n).std(), p(boot, n).std(1).mean(), p(boot, n).mean()
        out.append((n, shift, *of_p, d.mean(), d.std(), boot.std(1).mean(), linear))
    return out


def ks_difference(rng, replications: int = 500) -> list[tuple]:
    """False positives, true SD and mean SE of the difference of two cells of one true D."""
    out = []
    for shift, sd in product((0.0, 0.5, 1.5), (0.0, 0.1)):
        found = []
        for _ in range(replications):
            rows = rng.standard_normal((2, 1, 1, 100)) + np.array([shift, 0.0])[:, None, None, None]
            x = rows + 0.5 * rng.standard_normal((2, 2, 3, 100))
            x[0] += sd * rng.standard_normal((2, 3, 1))
            parts = [
                [row_parts.ks_parts(x[0, c, s], x[1, c, s]) for s in range(3)] for c in range(2)
            ]
            sides = [
                {"forget": np.array([p[0] for p in side]), "retain": np.array([p[1] for p in side])}
                for side in parts
            ]
            found.append(engine.difference(*sides, weights={"forget": 1, "retain": 1}))
        value, low, high, se = np.array([(f.value, f.low, f.high, f.se) for f in found]).T
        out.append((shift, sd, percent(np.mean((low > 0) | (high < 0))), value.std(), se.mean()))
    return out


def averages(rng, replications: int = 2000) -> list[tuple]:
    """Mean p of three seeds on the same rows, nothing differs: true SD, and mean SE over seeds."""
    out = []
    for inner in (1.0, 0.5, 0.1):  # SD of what differs between seeds, of a total of 1
        outer = math.sqrt(1 - inner**2)
        rows = outer * rng.standard_normal((replications, 2, 1, 100))
        x = rows + inner * rng.standard_normal((replications, 2, 3, 100))
        both = np.concatenate([x[:, 0], x[:, 1]], -1)
        step = np.where(np.argsort(both, -1) < 100, 0.01, -0.01)
        d = np.abs(np.cumsum(step, -1)).max(-1)
        p = stats.kstwobign.sf(d * math.sqrt(50))
        out.append((inner, p.mean(1).std(), p.std(1, ddof=1).mean() / math.sqrt(3)))
    return out


def picks(rng, replications: int = 1000) -> list[tuple]:
    """Best of four equal ratios against a fifth: bias and intervals above 0, naive and crossed."""
    out = []
    for m, n, sd in product((3, 5), (100,), (0, 0.02)):
        naive, crossed, low = [], [], [0, 0]
        for _ in range(replications):
            base = 0.15 * rng.standard_normal(n) + 0.5
            x = base + 0.15 * rng.standard_normal((5, 1, n)) + 0.1 * rng.standard_normal((5, m, n))
            x += sd * rng.standard_normal((5, m, 1))
            best = max(range(4), key=lambda k: x[k].mean())
            cell, _ = candidates.pick_then_test({k: x[k] for k in range(4)})
            found = [engine.difference(x[best], x[4]), engine.difference(cell, x[4])]
            naive.append(found[0].value), crossed.append(found[1].value)
            low = [s + (f.low > 0) for s, f in zip(low, found, strict=True)]
        out.append(
            (
                m,
                n,
                sd,
                np.mean(naive),
                low[0] / replications,
                np.mean(crossed),
                low[1] / replications,
            )
        )
    return out


def table(head: str, rows) -> str:
    lines = [f"| {head} |", "|" + "---|" * (head.count("|") + 1)]
    for row in rows:
        shown = [f"{x:.3g}" if isinstance(x, float) else str(x) for x in row]
        lines.append("| " + " | ".join(shown) + " |")
    return "\n".join(lines)


def percent(x) -> str:
    return f"{100 * x:.1f}"


def summary(of: pd.DataFrame) -> list[str]:
    """Least, median and greatest coverage; median and greatest false positives."""
    wrong = of.loc[of["effect"] == 0, "rejected"]
    found = of["cover"].min(), of["cover"].median(), of["cover"].max(), wrong.median(), wrong.max()
    return [percent(x) for x in found]


def per_setting(every: pd.DataFrame):
    columns = every.set_index([*SETTING, "effect", "method"])[["cover", "rejected", "width"]]
    at = columns.to_dict("index")
    for key in dict.fromkeys(every[SETTING].itertuples(index=False, name=None)):
        row = list(key)
        for method in METHODS:
            zero, real = at[(*key, 0.0, method)], at[(*key, EFFECT, method)]
            row += map(percent, (zero["rejected"], real["cover"], real["rejected"]))
            row.append(f"{zero['width']:.3f}")
        yield row


def report(replications: int) -> str:
    rng = np.random.default_rng(20240615)
    every = grid(replications, rng)
    enough = every[every["seeds"] >= 3]
    ours = enough[enough["method"] == "new"]
    wrong = ours["effect"].eq(0) & ours["cover"].lt(0.94)
    odd = ours[~ours["cover"].between(0.93, 0.97) | wrong]
    again = confirm(odd, 10 * replications, rng)
    hard = enough[enough["rows"].eq(400) & enough["correlation"].eq(0.9) & enough["effect"].gt(0)]
    power = hard.set_index(["method", "kind", "seed_sd", "seeds"])["rejected"]
    low_to_high = "least coverage | median | most | median false positives | most"
    parts = {
        f"All {len(ours) // 2} settings with 3 to 6 seeds": table(
            f"method | {low_to_high}",
            [(m, *summary(enough[enough["method"] == m])) for m in METHODS],
        ),
        "New engine, by seeds and seed SD": table(
            f"seeds | seed SD | {low_to_high}",
            [
                (*key, *summary(of))
                for key, of in every[every["method"] == "new"].groupby(["seeds", "seed_sd"])
            ],
        ),
        f"Outside 93 to 97 %, or above 6 % false positives: {len(odd)} of {len(ours)} rates": table(
            "kind | rows | correlation | seed SD | seeds | difference | coverage | simulated again",
            [
                (*c[:6], percent(c[7]), percent(x))
                for c, x in zip(odd.itertuples(index=False), again, strict=True)
            ],
        ),
        "Power at a difference of 0.03, 400 rows, correlation 0.9": table(
            "kind | seeds | seed SD | " + " | ".join(METHODS),
            [
                (kind, m, sd, *(percent(power[method, kind, sd, m]) for method in METHODS))
                for kind, m, sd in product(KINDS, (3, 6), SEED_SDS)
            ],
        ),
        "Other designs, new engine": table(
            "design | false positives | power at 0.03", others(replications, rng)
        ),
        "Two seeds: coverage": table(
            "rows | seed SD | rows alone, these runs | rows alone, all runs | crossed | its width",
            [(n, sd, *map(percent, x), w) for n, sd, *x, w in two_seeds(replications, rng)],
        ),
        "Percentile bootstrap, rows and seeds crossed (400 rows, correlation 0.9): coverage": table(
            "seeds | seed SD | bootstrap | new engine",
            [(m, sd, percent(a), percent(b)) for m, sd, a, b in bootstrap(600, rng)],
        ),
        "FQ: p of the KS test, and the statistic D": table(
            "rows | shift | p: mean | true SD | bootstrap SE | bootstrap mean "
            "| D: mean | true SD | bootstrap SE | `ks_parts` SE",
            forget_quality(rng),
        ),
        "Difference of D of two cells of one truth, 3 seeds, 100 + 100 shared rows": table(
            "shift | its seed SD | false positives | true SD | mean SE", ks_difference(rng)
        ),
        "FQ of three seeds on the same 100 + 100 rows, nothing differs": table(
            "part of SD that differs by seed | true SD of their mean | SE over seeds", averages(rng)
        ),
        "Best of four equal ratios against a fifth, 100 rows": table(
            "seeds | seed SD | naive: bias | interval above 0 | cross-fitted: bias | above 0",
            [
                (m, sd, f"{a:+.4f}", percent(b), f"{c:+.4f}", percent(d))
                for m, _, sd, a, b, c, d in picks(rng)
            ],
        ),
        "Every setting (FP: false positives; at 0.03: coverage and power; width at 0)": table(
            " | ".join(SETTING)
            + "".join(f" | {m}: {x}" for m in METHODS for x in ("FP", "cov", "pow", "width")),
            per_setting(every),
        ),
    }
    return "\n\n".join(f"## {head}\n\n{text}" for head, text in parts.items())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--replications", type=int, default=2000)
    parser.add_argument("--out", default="results/bench_statistics.md")
    args = parser.parse_args()
    text = report(args.replications)
    head = (
        "# Error rates of the interval of a difference\n\n"
        "`python benchmarks/bench_statistics.py`: "
        f"{args.replications} replications a setting, nominal 95 %, "
        f"{time.process_time():.0f} s of CPU. Rates in %.\n\n"
    )
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(head + text + "\n", encoding="utf-8")
    print(head + text.partition("## Every setting")[0])
