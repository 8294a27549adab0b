"""Made-up logs and plain reimplementations that several tests compare with."""

import numpy as np


def longest_common(a, b):
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1, j + 1] = (
                table[i, j] + 1 if x == y else max(table[i, j + 1], table[i + 1, j])
            )
    return table[-1, -1]


HOLDOUT = 8  # rows that only membership attacks read
SPLITS = {
    "forget_perturbed": (6, 5),
    "retain_perturbed": (7, 5),
    "real_authors": (4, 3),
    "world_facts": (5, 3),
}


def make_log(seed=0):
    """A log of random log-probabilities: three prompt tokens, four answer tokens, EOS."""
    rng, columns = (
        np.random.default_rng(seed),
        {k: [] for k in ("split", "row", "role", "log_prob", "argmax_hit", "in_span", "is_eos")},
    )
    for split, (rows, k) in {**SPLITS, "holdout": (HOLDOUT, 0)}.items():
        perturbed = [f"perturbed{i}" for i in range(k)]
        roles = ["answer", *perturbed]
        if k == 5:
            roles = [
                "answer",
                "paraphrased",
                *perturbed,
                "paraphrased@paraphrased",
                *[f"{p}@paraphrased" for p in perturbed],
            ]
        for row in range(rows):
            for role in roles:
                n = 8
                values = (split, row, role, None, None, None, None)
                for name, value in zip(columns, values, strict=True):
                    columns[name] += [value] * n
                columns["log_prob"][-n:] = (-rng.exponential(1.5, n)).astype(np.float32).tolist()
                columns["argmax_hit"][-n:] = (rng.random(n) < 0.6).tolist()
                columns["in_span"][-n:] = [False] * 3 + [True] * 5
                columns["is_eos"][-n:] = [False] * 7 + [True]
    kinds = {"split": object, "role": object, "row": np.int32, "log_prob": np.float32}
    log = {name: np.array(values, dtype=kinds.get(name, bool)) for name, values in columns.items()}
    n = len(log["log_prob"])
    log |= {"mean": rng.normal(-3, 1, n), "std": rng.uniform(0.5, 2, n)}
    return log | {"answer_zlib": np.repeat(rng.integers(20, 60, n // 8), 8)}


def make_generations(seed=0):
    rng, words = np.random.default_rng(seed), ["red", "green", "blue", "lamp", "town", "river"]
    result = []
    for split, (rows, k) in SPLITS.items():
        for row in range(rows):
            for asked in ("original", "paraphrased") if k == 5 else ("original",):
                entry = {
                    "split": split,
                    "row": row,
                    "asked": asked,
                    "answer": " ".join(rng.choice(words, 4)),
                    "generated": " ".join(rng.choice(words, 5)),
                }
                result.append(
                    entry
                    | ({"similarities": rng.random(6).tolist()} if asked == "paraphrased" else {})
                )
    return result
