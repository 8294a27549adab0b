"""How far curvature estimates and masks agree, and what each estimate costs.

Two estimates agree by the rank correlation of h over weights, and their masks by the Jaccard index:
the weights that both select over those that one of them selects. Numbers are means over seeds, with
standard errors.

Notable: estimates from other rows or draws are estimates like any other, so the same table says how
much more of them changes. Of a large model every m-th weight is ranked, about four million.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from wagle.attribution import masks
from wagle.model import tensors
from wagle.runtime.files import read_json
from wagle.runtime.records import run_of

RANKED = 1 << 22


def _flat(path: str | Path, shapes: dict[str, list[int]]) -> np.ndarray | None:
    """h of about RANKED weights, or None where all have the same."""
    step = max(1, sum(map(math.prod, shapes.values())) // RANKED)
    parts, start = [], 0
    for name, h in tensors.stream(path, shapes):
        size = math.prod(shapes[name])
        flat = h.reshape(-1).expand(size) if h.numel() == 1 else h.reshape(-1)
        parts.append(flat[-start % step :: step].float().numpy())
        start += size
    values = np.concatenate(parts)
    return None if (values == values[0]).all() else values


def spearman(estimates: Sequence[np.ndarray | None]) -> np.ndarray:
    """Rank correlations of all pairs, (n, n); NaN where one estimate is one number."""
    from scipy.stats import rankdata

    ranks = [None if e is None else rankdata(e) for e in estimates]
    result = np.full((len(ranks), len(ranks)), np.nan)
    for i, j in combinations(range(len(ranks)), 2):
        if ranks[i] is not None and ranks[j] is not None:
            result[i, j] = result[j, i] = np.corrcoef(ranks[i], ranks[j])[0, 1]
    return result


def jaccard(paths: Sequence[str | Path]) -> np.ndarray:
    """Jaccard indices of all pairs of mask files, (n, n), one parameter in memory at a time."""
    n = len(paths)
    both, sizes = np.zeros((n, n), np.int64), np.zeros(n, np.int64)
    for parts in zip(*map(masks.load, paths), strict=True):
        own = [mask.numpy() for _, mask in parts]
        sizes += [np.count_nonzero(mask) for mask in own]
        for i, j in combinations(range(n), 2):
            both[i, j] += np.count_nonzero(own[i] & own[j])
    both += both.T
    either = sizes[:, None] + sizes[None, :] - both
    return both / np.maximum(either, 1)


def pairs(
    names: Sequence[str],
    seeds: Sequence[int],
    curvature_files: dict[tuple[str, int], str],
    mask_files: dict[tuple[str, int], str],
    shapes: dict[str, list[int]],
) -> pd.DataFrame:
    """One row a pair of selections: both agreements, and the Jaccard index of random masks.

    The files are by selection and seed. Selections without an estimate have no rank correlation.
    """
    rows = []
    for seed in seeds:
        estimates = [
            _flat(curvature_files[name, seed], shapes) if (name, seed) in curvature_files else None
            for name in names
        ]
        correlation = spearman(estimates)
        overlap = jaccard([mask_files[name, seed] for name in names])
        header = masks.read_header(mask_files[names[0], seed])
        ratio = header["k"] / header["n"]
        for i, j in combinations(range(len(names)), 2):
            rows.append(
                {
                    "first": names[i],
                    "second": names[j],
                    "Spearman of h": correlation[i, j],
                    "Jaccard of masks": overlap[i, j],
                    "Jaccard by chance": ratio / (2 - ratio),
                }
            )
    frame = pd.DataFrame(rows).groupby(["first", "second"], sort=False)
    result = frame.mean()
    errors = frame.sem()
    for position, column in ((1, "Spearman of h"), (3, "Jaccard of masks")):
        result.insert(position, f"{column} SE", errors[column])
    return result.assign(seeds=frame.size()).reset_index()


def costs(names: Sequence[str], manifests: Sequence[str], scores: Sequence[str]) -> pd.DataFrame:
    """One row a selection with an estimate: its time, memory, and what the estimate looks like.

    names: of the cells with an estimate, one for each seed. manifests: of the curvature jobs
    behind them. scores: stats.json of their scores.

    Raises WagleError when a record is missing, altered, or that of another job.
    """
    rows = []
    for name, manifest, score in zip(names, manifests, scores, strict=True):
        run = run_of(Path(manifest))
        stats = read_json(Path(manifest).with_name("stats.json"))
        own = read_json(score)
        rows.append(
            {
                "selection": name,
                "retain rows": stats["rows"],
                "seconds": run["seconds"],
                "peak memory (MB)": run["peak_rss_mb"],
                "mean of h": stats["mean"],
                "share below 0": stats["negative"],
                "share below damping": own.get("share_below_damping"),
                "share first term": own["share_first_term"],
            }
        )
    frame = pd.DataFrame(rows)
    grouped = frame.groupby("selection", sort=False)
    result = grouped.mean()
    result.insert(2, "seconds SE", grouped["seconds"].sem())
    return result.assign(seeds=grouped.size()).reset_index()
