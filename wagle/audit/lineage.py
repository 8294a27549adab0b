"""Where one number comes from: the jobs from a table's cell down to the base model and the rows, each with its evidence.

A number is asked for in a reader's words, "npo wagle retain-acc", and is the mean over seeds of a method, a selection, a
metric and a protocol; `seed=1`, `ratio=0.5`, `gamma=1e-06` and `protocol=tofu` narrow it. Without a ratio the cells of
the main table are meant. Words that fit several numbers are an error that lists them, never a guess.

Notable: the chain is read from the records' own links, so it holds for rules that this module has never heard of.
"""

import csv
import json
import math
import re
from pathlib import Path
from typing import NamedTuple

from wagle.audit import audit
from wagle.audit.audit import Record, linked
from wagle.errors import WagleError
from wagle.experiment.cells import Cell

COLLECTED = "collected"
KEYS = ("method", "selection", "ratio", "gamma", "seed", "protocol", "metric")


class Step(NamedTuple):
    """One job of a chain: its number, those of the steps it read, its record, and the class of its files."""

    number: int
    sources: tuple[int, ...]
    record: Record
    status: str


class Lineage(NamedTuple):
    about: dict  # method, selection, ratio, gamma, protocol, metric
    values: dict  # seed -> value
    mean: float
    se: float | None  # over seeds; None for one
    steps: list[Step]  # from the table to the data


def plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def numbers(root: Path) -> list[dict]:
    """Rows of the collected metrics, values as text. Raises WagleError when there are none."""
    path = root / COLLECTED / "metrics.csv"
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WagleError(
            f"{path} cannot be read: {error}", "the collected metrics of a finished experiment"
        ) from None
    if not rows or any(key not in rows[0] for key in (*KEYS, "value")):
        raise WagleError(
            f"{path} is not a table of metrics", f"the columns {', '.join(KEYS)}, value"
        )
    return rows


def choose(rows: list[dict], words: str, shown: set[str]) -> list[dict]:
    """The rows of the one number that `words` name, one a seed. `shown` are the ids of the main table's cells.

    Raises WagleError when the words fit nothing, or several numbers.
    """
    left = []
    for word in words.split():
        key, equals, value = word.partition("=")
        if not equals:
            left.append(word)
            continue
        if key not in KEYS:
            raise WagleError(f"{word!r}: no such key", f"one of {', '.join(KEYS)}")
        rows = _fitting(rows, key, value)
    for key in ("method", "selection", "protocol"):
        known = {plain(row[key]) for row in rows} - {""}
        match = next((word for word in left if plain(word) in known), None)
        if match:
            left.remove(match)
            rows = _fitting(rows, key, match)
    if left:
        wanted = plain("".join(left))
        exact = [row for row in rows if plain(row["metric"]) == wanted]
        near = exact or [row for row in rows if wanted and wanted in plain(row["metric"])]
        if not near:
            known = ", ".join(sorted({row["metric"] for row in rows}))
            raise WagleError(
                f"{' '.join(left)!r} is no metric of the experiment's {words!r}", f"one of {known}"
            )
        rows = near
    if len({(row["ratio"], row["gamma"]) for row in rows}) > 1:
        rows = [row for row in rows if cell_of(row).id in shown] or rows
    found = sorted({tuple(row[key] for key in KEYS if key != "seed") for row in rows})
    if len(found) != 1:
        names = [
            " ".join(
                f"{k}={v}" if k in ("ratio", "gamma") else v
                for k, v in zip(_but_seed(), f, strict=True)
                if v
            )
            for f in found
        ]
        listed = "; ".join(names[:12]) + (
            f"; and {len(names) - 12} more" if len(names) > 12 else ""
        )
        raise WagleError(
            f"{words!r} fits {len(found)} numbers: {listed or 'none'}",
            "one",
            "add words, such as protocol=wagle or ratio=0.8",
        )
    return rows


def _but_seed() -> tuple[str, ...]:
    return tuple(key for key in KEYS if key != "seed")


def _fitting(rows: list[dict], key: str, value: str) -> list[dict]:
    """Rows whose `key` is `value`, compared as numbers where both are."""

    def same(found: str) -> bool:
        try:
            return float(found) == float(value)
        except ValueError:
            return plain(found) == plain(value)

    chosen = [row for row in rows if same(row[key])]
    if not chosen:
        known = ", ".join(sorted({row[key] for row in rows} - {""})) or "none"
        raise WagleError(f"nothing has {key} {value!r}", f"one of {known}")
    return chosen


def cell_of(row: dict) -> Cell:
    try:
        ratio, gamma = (float(row[key]) if row[key] else None for key in ("ratio", "gamma"))
        return Cell(
            row["method"], row["selection"], ratio, gamma, int(row["seed"]) if row["seed"] else None
        )
    except ValueError as error:
        raise WagleError(f"a row of the collected metrics is malformed: {error}") from None


def table_cells(records: dict[str, Record]) -> set[str]:
    """Ids of the cells of the main table, as the records of its protocols list them."""
    found: set[str] = set()
    for path in _tables(records):
        try:
            found |= set(json.loads(records[path].manifest["params"].get("cells", "[]")))
        except (TypeError, ValueError, RecursionError):
            raise WagleError(
                f"{path} lists no cells", do="run wagle audit on this folder"
            ) from None
    return found


def _tables(records: dict[str, Record]) -> list[str]:
    """Manifests of the main table, one a protocol."""
    return [
        p
        for p, r in records.items()
        if r.folder.startswith("tables/") and "protocol" in r.manifest["wildcards"]
    ]


def chain(
    records: dict[str, Record], ends: list[str], through: set[str]
) -> list[tuple[str, tuple[str, ...]]]:
    """(manifest, manifests it read) from `ends` down to the sources, readers before what they read.

    Of a record's links into metrics/, only those in `through` are followed: the collection reads every cell.
    """
    links: dict[str, tuple[str, ...]] = {}
    pending = list(ends)
    while pending:
        path = pending.pop(0)
        if path in links or path not in records:
            continue
        named = [linked(records[path], link) for link in records[path].manifest["inputs"]]
        links[path] = tuple(
            p for p in named if p in records and (not p.startswith("metrics/") or p in through)
        )
        pending += links[path]
    order: list[str] = []
    waiting = {path: sum(path in sources for sources in links.values()) for path in links}
    ready = [path for path in links if not waiting[path]]
    while ready:
        path = ready.pop(0)
        order.append(path)
        for source in links[path]:
            waiting[source] -= 1
            if not waiting[source]:
                ready.append(source)
    return [(path, links[path]) for path in order]


def lineage(results: str | Path, words: str) -> Lineage:
    """The number that `words` name in the folder `results`, and every job that it was made by. Raises WagleError."""
    root = Path(results)
    records, _ = audit.load(root, audit.walk(root))
    shown = table_cells(records)
    rows = choose(numbers(root), words, shown)
    ids = [cell_of(row).id for row in rows]
    ends = [
        path
        for path in _tables(records)
        if records[path].manifest["wildcards"]["protocol"] == rows[0]["protocol"]
    ]
    ends = ends if set(ids) <= shown else []
    cells = {f"metrics/{name}/manifest.json" for name in ids}
    if not cells <= set(records):
        raise WagleError(
            f"no record of {min(cells - set(records))}", do="run wagle audit on this folder"
        )
    order = chain(records, [*ends, f"{COLLECTED}/manifest.json"], cells)
    found = audit.audit(root, only={path for path, _ in order})
    number = {path: i for i, (path, _) in enumerate(order, 1)}
    steps = [
        Step(
            number[p],
            tuple(number[s] for s in sources),
            records[p],
            status(found, records[p].folder),
        )
        for p, sources in order
    ]
    values = {row["seed"]: _value(root, row) for row in rows}
    mean = math.fsum(values.values()) / len(values)
    spread = (
        math.sqrt(math.fsum((v - mean) ** 2 for v in values.values()) / (len(values) - 1))
        if len(values) > 1
        else None
    )
    about = {key: rows[0][key] for key in _but_seed()}
    return Lineage(about, values, mean, spread and spread / math.sqrt(len(values)), steps)


def _value(root: Path, row: dict) -> float:
    """The row's value. Raises WagleError when it is not the one that the cell's own metrics hold."""
    from wagle.runtime.files import LARGE_LIMIT, read_json

    path = root / "metrics" / cell_of(row).id / "metrics.json"
    try:
        collected, own = (
            float(row["value"]),
            float(
                read_json(path, limit=LARGE_LIMIT, strict=False)[row["protocol"]][row["metric"]][
                    "value"
                ]
            ),
        )
    except (KeyError, TypeError, ValueError):
        raise WagleError(
            f"{path} has no {row['metric']} under {row['protocol']}",
            do="run wagle audit on this folder",
        ) from None
    if collected != own:
        raise WagleError(
            f"{path} says {own}, the collected metrics {collected}",
            "one value",
            "run wagle audit on this folder",
        )
    return own


def status(found: audit.Audit, folder: str) -> str:
    """The worst class among the files of a record's folder; removed checkpoints count as intact and are named."""
    kinds = {f.kind for f in found.findings if f.path.startswith(folder + "/")}
    bad = [kind for kind in ("altered", "missing", "stale") if kind in kinds]
    return (
        bad[0].upper()
        if bad
        else "intact, some removed after use"
        if "temporary" in kinds
        else "intact"
    )


def text(found: Lineage) -> str:
    """The chain for people."""
    about = found.about
    spread = f" ± {found.se:.4f}" if found.se is not None else ""
    seeds = ", ".join(f"seed {seed}: {value:.6g}" for seed, value in found.values.items() if seed)
    where = [
        about["method"],
        about["selection"],
        *(f"{key} {about[key]}" for key in ("ratio", "gamma") if about[key]),
    ]
    lines = [
        f"{' '.join(w for w in where if w)}, {about['metric']} (protocol {about['protocol']}): {found.mean:.6g}{spread}"
    ]
    lines += [seeds] * bool(seeds)
    for step in found.steps:
        record, run = step.record, step.record.run or {}
        manifest = record.manifest
        made = f"made from {', '.join(map(str, step.sources))}" if step.sources else "a source"
        code = str(manifest["params"].get("code", "")).partition(":")[0]
        lines += ["", f"{step.number:3d}  {manifest['rule']}: {record.folder}  [{step.status}]"]
        lines.append(f"     {made}; record {record.digest[:12]}, code {code[:12]}")
        lines.append(f"     {run.get('started')}, {run.get('seconds')} s on {run.get('host')}")
        kept = sorted(manifest["outputs"].items(), key=lambda item: -item[1]["bytes"])[:3]
        lines.append("     " + ", ".join(f"{name} {entry['sha256'][:12]}" for name, entry in kept))
        lines += [
            f"     raw file {name}, sha256 {digest}" for name, digest in manifest["raw"].items()
        ]
        if not step.sources:
            said = [str(value) for key, value in manifest["params"].items() if key != "code"]
            lines += [f"     {value[:240]}" for value in said]
    bad = [step for step in found.steps if not step.status.startswith("intact")]
    verdict = (
        "every step is intact"
        if not bad
        else "NOT INTACT: step " + ", ".join(str(step.number) for step in bad)
    )
    return "\n".join([*lines, "", f"{len(found.steps)} steps; {verdict}."]) + "\n"


def as_json(found: Lineage) -> dict:
    steps = [
        {
            "number": s.number,
            "made_from": s.sources,
            "folder": s.record.folder,
            "status": s.status,
            "record_sha256": s.record.digest,
        }
        | {key: s.record.manifest[key] for key in ("rule", "wildcards", "params", "raw", "outputs")}
        | {"run": s.record.run}
        for s in found.steps
    ]
    return {
        "number": found.about,
        "values": found.values,
        "mean": found.mean,
        "se": found.se,
        "steps": steps,
    }
