"""Selection: ten ratios of one score against argsort(argsort(scores)), in one run.

The official code ranks by that sort. Both get the same N random fp32 scores with SmolLM2-135M's
shapes; the sort is done once and compared ten times. Prints the time ratio, memory above the
scores, whether all ten masks are the same bits, the fraction of the memory bandwidth that counting,
packing, scoring and mask files reach, and the cost per weight from 1M to 1G. Then one ratio of the
same scores under each budget rule, against one ranking of all weights.

    python benchmarks/bench_selection.py [--n 134515008] [--linear 1000000 10000000 1000000000]
"""

import argparse
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from bench import child, peak_above, report

from wagle.attribution import topk
from wagle.attribution.attribution import write_masks, write_scores
from wagle.attribution.budgeting import BudgetRule, budgeted
from wagle.experiment import plugins
from wagle.model import tensors

RATIOS = [0.1, 0.2, 0.4, 0.6, 0.8, 0.85, 0.9, 0.95, 0.99, 1.0]
REPEATS = 3
BUDGET_RATIO = 0.8


def shapes(n: int) -> dict[str, list[int]]:
    """SmolLM2-135M's embedding and blocks, as many as n weights fill.

    N = 134,515,008 gives the model's own shapes.
    """
    result, layer = {"embed": [max(1, 49152 * min(n, 134_515_008) // 134_515_008), 576]}, 0
    block = {
        "q": [576, 576],
        "k": [192, 576],
        "v": [192, 576],
        "o": [576, 576],
        "norm1": [576],
        "up": [1536, 576],
        "gate": [1536, 576],
        "down": [576, 1536],
        "norm2": [576],
    }
    left = n - result["embed"][0] * 576
    while left:
        for name, shape in block.items():
            size = min(left, int(np.prod(shape)))
            if size:
                result[f"{layer}.{name}"] = shape if size == np.prod(shape) else [size]
            left -= size
        layer += 1
    return result


def cut(flat: torch.Tensor) -> dict[str, torch.Tensor]:
    layout = shapes(len(flat))
    parts = flat.split([int(np.prod(shape)) for shape in layout.values()])
    return {
        name: part.view(shape) for (name, shape), part in zip(layout.items(), parts, strict=True)
    }


def bandwidth() -> float:
    """Bytes a second that two cores read in a sum over 1 GiB, the best of five."""
    ones = torch.ones(1 << 28)
    return 4 * len(ones) / min(timed(ones.sum)[0] for _ in range(5))


def timed(function):
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


def digest(bits) -> str:
    return hashlib.sha256(np.ascontiguousarray(bits)).hexdigest()


def naive(scores: torch.Tensor) -> dict:
    """Ranks by two sorts, then a comparison for each ratio; masks are dropped one by one."""
    n, hashes = len(scores), []
    with peak_above() as peak:
        started = time.perf_counter()
        rank = torch.argsort(torch.argsort(scores.abs(), descending=True, stable=True))
        sort_s, compare_s = time.perf_counter() - started, 0.0
        for ratio in RATIOS:
            seconds, mask = timed(lambda ratio=ratio: rank < topk.budget(ratio, n))
            compare_s += seconds
            hashes.append(mask)
            hashes[-1] = digest(np.packbits(mask.numpy(), bitorder="little"))  # not timed
    return {"seconds": sort_s + compare_s, "peak": peak.bytes, "hashes": hashes}


def ours(scores: torch.Tensor) -> dict:
    """Thresholds and packed masks.

    The hash is that of the flat mask, because every tensor is a whole number of bytes here.
    """
    stream = cut(scores).items
    ks = [topk.budget(ratio, len(scores)) for ratio in RATIOS]
    counting, packing = [], []
    with peak_above() as peak:
        for _ in range(REPEATS):
            seconds, limits = timed(lambda: topk.thresholds(stream, ks))
            counting.append(seconds)
            packing.append(
                timed(lambda limits=limits: [None for _ in topk.packed(stream, limits)])[0]
            )
    one = [
        timed(lambda: [None for _ in topk.packed(stream, topk.thresholds(stream, ks[3:4]))])[0]
        for _ in range(REPEATS)
    ]
    hashes = [hashlib.sha256() for _ in RATIOS]
    for _, masks in topk.packed(stream, limits):
        for sha256, mask in zip(hashes, masks, strict=True):
            sha256.update(mask.bits)
    return {
        "counting": min(counting),
        "packing": min(packing),
        "seconds": min(a + b for a, b in zip(counting, packing, strict=True)),
        "one_ratio": min(one),
        "peak": peak.bytes,
        "hashes": [sha256.hexdigest() for sha256 in hashes],
        "bandwidth": bandwidth(),
    }


def files(n: int, folder: Path) -> dict:
    """Scores from three files of n weights, then ten mask files.

    The disk is measured by writing and syncing as many bytes.
    """
    layout, generator = shapes(n), torch.Generator().manual_seed(0)
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / tensors.ORDER).write_text(json.dumps(layout))
    for name in ("checkpoint/model.safetensors", "forget", "retain"):
        random = ((key, torch.randn(shape, generator=generator)) for key, shape in layout.items())
        tensors.write(folder / name, layout, torch.float32, random)
    inputs = {side: str(folder / side) for side in ("forget", "retain")}
    score = (folder / "scores", "wagle.scores.wagle", folder / "checkpoint", inputs)
    scoring = min(
        timed(lambda: write_scores(*score, options={"gamma": 1e-6}, seed=0))[0]
        for _ in range(REPEATS)
    )
    paths = [folder / f"mask{i}" for i in range(len(RATIOS))]

    def write() -> None:
        write_masks(paths, folder / "scores", folder / "checkpoint", RATIOS, "global", {})
        for path in paths:
            sync(path)

    masking = min(timed(write)[0] for _ in range(REPEATS))
    unprocessed = min(
        timed(lambda: write_zeros(folder / "zeros", n * len(RATIOS) // 8))[0]
        for _ in range(REPEATS)
    )
    return {
        "scoring": scoring,
        "masking": masking,
        "unprocessed": unprocessed,
        "written": sum(path.stat().st_size for path in paths),
    }


def write_zeros(path: Path, size: int) -> None:
    path.write_bytes(bytes(size))
    sync(path)


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def linear(n: int) -> dict:
    """Processor seconds for thresholds and masks of n weights.

    Above 2^25 weights they come as shards, each a copy of one random shard.
    """
    shard = torch.randn(min(n, 1 << 25), generator=torch.Generator().manual_seed(0))
    sizes = [len(shard)] * (n // len(shard)) + ([n % len(shard)] if n % len(shard) else [])

    def stream():
        return ((str(i), shard[:size]) for i, size in enumerate(sizes))

    ks = [topk.budget(ratio, n) for ratio in RATIOS]
    repeats = REPEATS if n < 1 << 28 else 1
    run = []
    for _ in range(
        repeats
    ):  # processor time: a run of half a minute meets more of other work than one of milliseconds
        busy = time.process_time()
        for _ in topk.packed(stream, topk.thresholds(stream, ks)):
            pass
        run.append(time.process_time() - busy)
    return {"seconds": min(run)}


def budgets(scores: torch.Tensor) -> dict:
    """Seconds of one mask of each budget rule, and of one ranking of all weights, in turns."""
    layout, stream, n = shapes(len(scores)), cut(scores).items, len(scores)

    def one_ranking():
        limits = topk.thresholds(stream, [topk.budget(BUDGET_RATIO, n)])
        return sum(masks[0].selected for _, masks in topk.packed(stream, limits))

    def by_rule(rule):
        result = budgeted(
            stream, layout, [BUDGET_RATIO], n, BudgetRule(f"wagle.budgets.{rule}", {})
        )
        return sum(masks[0].selected for _, masks in result.packed)

    seconds = {name: [] for name in ("one ranking", *plugins.known("budgets"))}
    for _ in range(REPEATS):
        for name, runs in seconds.items():
            spent, selected = timed(one_ranking if name == "one ranking" else lambda: by_rule(name))  # noqa: B023
            assert name == "mass" or selected == topk.budget(BUDGET_RATIO, n)
            runs.append(spent)
    return {name: min(runs) for name, runs in seconds.items()}


def measure(options) -> dict:
    torch.set_num_threads(os.cpu_count())
    if options.path == "files":
        with tempfile.TemporaryDirectory(dir=".") as folder:
            return files(options.n, Path(folder))
    if options.path == "linear":
        return linear(options.n)
    scores = torch.empty(options.n).normal_(generator=torch.Generator().manual_seed(0))
    return {"naive": naive, "ours": ours, "budgets": budgets}[options.path](scores)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=134_515_008)
    parser.add_argument("--linear", type=int, nargs="*", default=[10**6, 10**7, 10**8, 10**9])
    parser.add_argument(
        "--path",
        choices=("naive", "ours", "files", "linear", "budgets"),
        help="one measurement (used by the run itself)",
    )
    options = parser.parse_args()
    if options.path:
        print(json.dumps(measure(options)))
        return
    n = str(options.n)
    new, old, disk = (
        child(__file__, "--n", n, "--path", path) for path in ("ours", "naive", "files")
    )
    ratio, share = old["seconds"] / new["seconds"], new["peak"] / (4 * options.n)
    for name, result in (("sorts", old), ("ours", new)):
        print(
            f"N = {options.n:,}, ten ratios, {name}: {result['seconds']:.2f} s,"
            f" {result['peak'] / 1e6:.0f} MB above the scores"
        )
    print(
        f"ours: counting {new['counting']:.2f} s, packing {new['packing']:.2f} s;"
        f" both for one ratio {new['one_ratio']:.2f} s"
    )
    same = new["hashes"] == old["hashes"]
    loops = "ten comparisons a weight in the cache, not by memory"
    report(
        "selection: time of argsort(argsort) / ours, ten ratios",
        ratio,
        "x",
        "at least 15",
        ratio >= 15,
        loops,
    )
    report(
        "selection: peak memory above the scores",
        share,
        "of the scores",
        "at most 0.15",
        share <= 0.15,
        "the largest tensor's masks",
    )
    report("selection: masks equal to the stable sort's", float(same), "", "1", same, "nothing")
    speed = new["bandwidth"]
    for name, moved, seconds, limit in (
        (
            "counting for ten ratios",
            2 * 4 * options.n,
            new["counting"],
            "the histogram's one count at a time",
        ),
        ("packing ten masks", (4 + len(RATIOS) / 8) * options.n, new["packing"], loops),
        (
            "WAGLE scores, files in the page cache",
            4 * 4 * options.n,
            disk["scoring"],
            "copies between page cache and memory",
        ),
    ):
        value = moved / seconds / speed
        report(
            f"bandwidth: {name}", value, f"of {speed / 1e9:.0f} GB/s read", "stated", True, limit
        )
    value = disk["unprocessed"] / disk["masking"]
    report(
        "disk: ten mask files from a score file",
        value,
        f"of a plain write of {disk['written'] / 1e6:.0f} MB",
        "stated",
        True,
        "the selection itself and the disk",
    )
    rules = child(__file__, "--n", n, "--path", "budgets")
    whole = rules.pop("one ranking")
    print(f"one ratio, one ranking of all weights: {whole:.2f} s")
    for name, seconds in rules.items():
        share = seconds / whole
        report(
            f"selection: time of budget rule {name} / one ranking",
            share,
            "x",
            "at most 1.5",
            share <= 1.5,
            "row by row work in the cache" if name == "rows" else "counting and packing",
        )
    cost = {
        size: child(__file__, "--n", str(size), "--path", "linear")["seconds"] / size * 1e9
        for size in options.linear
    }
    print(
        "processor ns per weight, ten ratios: "
        + ", ".join(f"{size:,}: {value:.1f}" for size, value in cost.items())
    )
    if len(cost) > 1:
        spread = cost[max(cost)] / cost[min(cost)]
        report(
            f"selection: processor ns a weight at N = {max(cost):,} / at {min(cost):,}",
            spread,
            "x",
            "at most 2",
            spread <= 2,
            loops,
        )


if __name__ == "__main__":
    main()
