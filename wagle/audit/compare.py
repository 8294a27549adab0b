"""Two results folders side by side: which numbers differ and by more than chance, which bytes, and what was done differently.

Numbers are compared cell by cell (method, selection, ratio, gamma), protocol and metric, over their seeds. Where both folders
hold per-row values of the same rows, the test is paired over rows (wagle/evaluation/statistics.py); else it is a normal test with
both standard errors. A table has many cells, so p is also given after Holm's correction over all comparisons made.

Notable: code, config, data and environment are compared through the records, so a difference in numbers comes with the
candidates for its cause. Left out: which of them is the cause.
"""

import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from wagle.audit import audit
from wagle.audit.audit import Record
from wagle.audit.lineage import KEYS, cell_of, numbers
from wagle.errors import WagleError
from wagle.runtime.files import LARGE_LIMIT, read_json, sha256_file

MEASURED = (
    "timing",
)  # rules whose outputs are measurements of the run itself, different each time


class Difference(NamedTuple):
    """second - first of one number: means over seeds, standard error of the difference, two-sided p, p after Holm, the test."""

    name: str
    first: float
    second: float
    difference: float
    se: float
    p: float
    adjusted: float
    test: str


def _groups(root: Path) -> dict[tuple, list[dict]]:
    found: dict[tuple, list[dict]] = {}
    for row in numbers(root):
        found.setdefault(tuple(row[key] for key in KEYS if key != "seed"), []).append(row)
    return found


def _same_rows(first: dict[str, Record], second: dict[str, Record], cells: tuple[str, str]) -> bool:
    """Did both cells' evaluations read the same splits, byte for byte?"""
    found = []
    for records, cell in zip((first, second), cells, strict=True):
        record = records.get(f"evaluations/{cell}/manifest.json")
        read = (
            {audit.linked(record, link) for link in record.manifest["inputs"]} if record else set()
        )
        found.append(
            {
                p: records[p].manifest["outputs"]
                for p in read
                if p in records and p.startswith("data/")
            }
        )
    return bool(found[0]) and found[0] == found[1]


def _rows(root: Path, row: dict) -> list[float] | None:
    path = root / "metrics" / cell_of(row).id / "rows.json"
    found = read_json(path, limit=LARGE_LIMIT, strict=False) if path.is_file() else {}
    values = found.get(row["protocol"], {}) if isinstance(found, dict) else {}
    return values.get(row["metric"]) if isinstance(values, dict) else None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _test(roots, records, groups) -> tuple[float, float, float, float, float, str]:
    """(first, second, difference, se, p, test) of one number in both folders."""
    from scipy import stats

    from wagle.evaluation.statistics import paired

    values = [[_number(row["value"]) for row in rows] for rows in groups]
    means = [math.fsum(v) / len(v) for v in values]
    per_row = [[_rows(root, row) for row in rows] for root, rows in zip(roots, groups, strict=True)]
    if all(rows is not None for side in per_row for rows in side):
        cells = (cell_of(groups[0][0]).id, cell_of(groups[1][0]).id)
        try:
            if _same_rows(*records, cells):
                found = paired(*per_row)
                return *means, found.difference, found.se, found.p, f"paired over {found.rows} rows"
        except (WagleError, ValueError, TypeError):
            pass  # fewer than two rows, rows of other lengths, NaN: the standard errors still speak
    spread = [
        math.fsum(_number(row.get("se") or "nan") for row in rows) / len(rows) for rows in groups
    ]
    difference, se = means[1] - means[0], math.hypot(*spread)
    if difference == 0:
        return *means, 0.0, se, 1.0, "equal"
    p = (
        float(2 * stats.norm.sf(abs(difference) / se))
        if se > 0
        else math.nan
        if math.isnan(se)
        else 0.0
    )
    return *means, difference, se, p, "by standard errors"


def holm(values: list[float]) -> list[float]:
    """Holm's step-down adjustment; NaN stays NaN and is no comparison."""
    order = sorted((i for i, p in enumerate(values) if not math.isnan(p)), key=lambda i: values[i])
    result, running = [math.nan] * len(values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * values[i]))
        result[i] = running
    return result


def differences(
    first: str | Path, second: str | Path
) -> tuple[list[Difference], list[str], list[str]]:
    """(numbers in both, names only in `first`, names only in `second`). Raises WagleError when a folder has no numbers."""
    roots = (Path(first), Path(second))
    groups = [_groups(root) for root in roots]
    records = [audit.load(root, audit.walk(root))[0] for root in roots]
    both = [key for key in groups[0] if key in groups[1]]
    tests = [_test(roots, records, (groups[0][key], groups[1][key])) for key in both]
    adjusted = holm([test[4] for test in tests])
    found = [
        Difference(_name(key), *test[:5], p, test[5])
        for key, test, p in zip(both, tests, adjusted, strict=True)
    ]
    only = [[_name(key) for key in groups[i] if key not in groups[1 - i]] for i in (0, 1)]
    return found, *only


def _name(key: tuple) -> str:
    about = dict(zip((k for k in KEYS if k != "seed"), key, strict=True))
    cell = [
        about["method"],
        about["selection"],
        *(f"{k}={about[k]}" for k in ("ratio", "gamma") if about[k]),
    ]
    return " ".join(part for part in [*cell, f"[{about['protocol']}]", about["metric"]] if part)


def causes(first: str | Path, second: str | Path) -> dict[str, list[str]]:
    """What was done differently, by kind (code, config, data, environment), each difference once with its number of jobs."""
    sides = [audit.load(Path(root), audit.walk(Path(root)))[0] for root in (first, second)]
    found: dict[str, Counter] = {
        kind: Counter() for kind in ("code", "config", "data", "environment")
    }
    for path in sorted(sides[0].keys() & sides[1].keys()):
        a, b = (side[path] for side in sides)
        code = [record.manifest["params"].get("code") for record in (a, b)]
        if code[0] != code[1]:
            found["code"][f"{a.manifest['rule']}: {str(code[1]).partition(':')[2]}"] += 1
        for text in _config(a.manifest["params"], b.manifest["params"]):
            found["config"][f"{a.manifest['rule']}: {text}"] += 1
        if a.manifest["raw"] != b.manifest["raw"]:
            found["data"][f"{a.folder}: raw files differ"] += 1
        elif path.startswith("data/") and a.manifest["outputs"] != b.manifest["outputs"]:
            found["data"][f"{a.folder}: other rows"] += 1
        for text in _environment(a.run or {}, b.run or {}):
            found["environment"][text] += 1
    return {
        kind: [f"{text} ({count} jobs)" for text, count in counter.most_common()]
        for kind, counter in found.items()
    }


def _config(first: dict, second: dict) -> list[str]:
    found = []
    for key in sorted((first.keys() | second.keys()) - {"code"}):
        found += _unlike(_parsed(first.get(key)), _parsed(second.get(key)), key)
    return found


def _parsed(value):
    try:
        return json.loads(value)
    except (TypeError, ValueError, RecursionError):
        return value


def _unlike(first, second, where: str) -> list[str]:
    if isinstance(first, dict) and isinstance(second, dict):
        return [
            t
            for k in sorted(first.keys() | second.keys())
            for t in _unlike(first.get(k), second.get(k), f"{where}.{k}")
        ]
    return [] if first == second else [f"{where} {_brief(first)} -> {_brief(second)}"]


def _brief(value) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _environment(first: dict, second: dict) -> list[str]:
    keys = (
        "python",
        "packages",
        "host",
        "system",
        "processor",
        "cores",
        "threads",
        "accelerator",
        "deterministic",
    )
    return [text for key in keys for text in _unlike(first.get(key), second.get(key), key)]


def measured(records: dict[str, Record]) -> set[str]:
    """Manifests of the jobs that measure the run itself, and of all that was made from them."""
    found = {path for path, record in records.items() if record.manifest["rule"] in MEASURED}
    return found | audit.below(records, found)


def same_bytes(
    first: str | Path, second: str | Path
) -> tuple[dict[str, int], list[str], list[str]]:
    """(files alike by top-level folder, paths that differ, paths that differ because they measure the run itself).

    Every recorded file and every manifest is read from both folders; a manifest holds the hashes of removed checkpoints too.
    """
    roots = [Path(first), Path(second)]
    sides = [audit.load(root, audit.walk(root))[0] for root in roots]
    timed = measured(sides[0])
    alike: Counter = Counter()
    unlike, timing = [], []
    for path in sorted(sides[0].keys() | sides[1].keys()):
        names = {name for side in sides if path in side for name in side[path].manifest["outputs"]}
        folder = os.path.dirname(path)
        for file in [path, *(f"{folder}/{name}" for name in sorted(names))]:
            found = [_hash(root / file) for root in roots]
            if found[0] == found[1]:
                alike[path.split("/")[0]] += found[0] is not None
            else:
                (timing if path in timed else unlike).append(file)
    return dict(alike), unlike, timing


def _hash(path: Path) -> str | None:
    return sha256_file(path) if path.is_file() else None


def text(
    first: str,
    second: str,
    found,
    reasons: dict[str, list[str]],
    level: float = 0.05,
    most: int = 20,
) -> str:
    """The comparison for people: the largest differences first."""
    numbers_, only_first, only_second = found
    lines = [f"A = {first}, B = {second}; differences are B - A", ""]
    unlike = sorted(
        (d for d in numbers_ if d.difference),
        key=lambda d: (d.adjusted if d.adjusted == d.adjusted else 2, -abs(d.difference)),
    )
    clear = sum(d.p < level for d in numbers_)
    sure = sum(d.adjusted < level for d in numbers_)
    lines.append(
        f"{len(numbers_)} numbers in both: {len(numbers_) - len(unlike)} equal, {len(unlike)} different"
    )
    lines.append(
        f"{clear} with p < {level} ({level * len(numbers_):.0f} would be by chance alone), {sure} after Holm's correction"
    )
    if unlike:
        lines += [
            "",
            f"{'':58s} {'A':>9s} {'B':>9s} {'B - A':>9s} {'SE':>8s} {'p':>8s} {'p (Holm)':>8s}  test",
        ]
        for d in unlike[:most]:
            values = f"{d.first:9.4f} {d.second:9.4f} {d.difference:+9.4f} {d.se:8.4f} {d.p:8.2g} {d.adjusted:8.2g}"
            lines.append(f"{d.name[:58]:58s} {values}  {d.test}")
        lines += [f"and {len(unlike) - most} more"] * (len(unlike) > most)
    for name, only in (("A", only_first), ("B", only_second)):
        lines += ["", f"{len(only)} numbers only in {name}, such as {only[0]}"] if only else []
    lines += ["", "Done differently, by the records of jobs that both have:"]
    for kind, said in reasons.items():
        lines.append(f"  {kind}: " + ("the same" if not said else ""))
        lines += [f"    {line}" for line in said[:most]]
        lines += [f"    and {len(said) - most} more"] * (len(said) > most)
    return "\n".join(lines) + "\n"
