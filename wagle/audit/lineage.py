"""Where one number comes from: every job from the table down to the base model and the rows.

A number is the mean over seeds of one metric of a method and a selection under one protocol
(wagle/audit/collected.py says how a reader names it). Its lineage lists each job behind it, with
the hashes and the state of that job's files.

Notable: the chain follows the records' own inputs, so it holds for rules that this module does not
know. A collected number that is not the one of its cell's own metrics is an error.
Left out: the audit of all that is not behind this number (wagle/audit/check.py).
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from wagle.audit.check import Audit, audit_folder
from wagle.audit.collected import (
    FOLDER,
    NumberKey,
    cell_of,
    number_key,
    read_collected,
    select_number,
)
from wagle.audit.record_graph import Record, load_records, resolve_input
from wagle.errors import WagleError
from wagle.runtime.files import LARGE_LIMIT, read_json

DO_AUDIT = "run wagle audit on this folder"


class Job(NamedTuple):
    """A manifest's path, and the paths of the manifests that it read."""

    path: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One job of a lineage.

    `sources` are the numbers of the steps that it read, and `status` is the worst class of its
    files.
    """

    number: int
    sources: tuple[int, ...]
    record: Record
    status: str

    @property
    def is_intact(self) -> bool:
        return self.status.startswith("intact")


@dataclass(frozen=True)
class Lineage:
    """One number and the jobs behind it.

    `values` are by seed. `se` is the standard error over seeds, None for one seed. `steps` go from
    the table to the data.
    """

    about: NumberKey
    values: dict[str, float]
    mean: float
    se: float | None
    steps: list[Step]

    @property
    def is_intact(self) -> bool:
        return all(step.is_intact for step in self.steps)


def trace_number(results: str | Path, words: str) -> Lineage:
    """The number that `words` name in the folder `results`, and every job that made it.

    Raises WagleError when the words fit no number or several, or when the number, its records or
    its metrics do not fit each other.
    """
    root = Path(results)
    records = load_records(root).records
    main_cells = table_cells(records)
    rows = select_number(read_collected(root), words, main_cells)
    key, cells = number_key(rows[0]), [cell_of(row).id for row in rows]
    metrics = {f"metrics/{cell}/manifest.json" for cell in cells}
    if not metrics <= set(records):
        raise WagleError(f"no record of {min(metrics - set(records))}", do=DO_AUDIT)
    tables = _main_tables(records) if set(cells) <= main_cells else []
    ends = [p for p in tables if records[p].manifest["wildcards"]["protocol"] == key.protocol]
    jobs = order_jobs(records, [*ends, f"{FOLDER}/manifest.json"], metrics)
    audit = audit_folder(root, only={job.path for job in jobs})
    number_of = {job.path: number for number, job in enumerate(jobs, 1)}
    steps = [
        Step(
            number=number_of[job.path],
            sources=tuple(number_of[source] for source in job.sources),
            record=records[job.path],
            status=worst_class(audit, records[job.path].folder),
        )
        for job in jobs
    ]
    values = {row["seed"]: _checked_value(root, row) for row in rows}
    mean = math.fsum(values.values()) / len(values)
    return Lineage(key, values, mean, _standard_error(list(values.values()), mean), steps)


def _standard_error(values: list[float], mean: float) -> float | None:
    if len(values) < 2:
        return None
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
    return deviation / math.sqrt(len(values))


def table_cells(records: dict[str, Record]) -> set[str]:
    """Ids of the cells of the main table, as the records of its protocols list them.

    Raises WagleError when such a record lists none.
    """
    cells: set[str] = set()
    for path in _main_tables(records):
        try:
            cells |= set(json.loads(records[path].manifest["params"].get("cells", "[]")))
        except (TypeError, ValueError, RecursionError):
            raise WagleError(f"{path} lists no cells", do=DO_AUDIT) from None
    return cells


def _main_tables(records: dict[str, Record]) -> list[str]:
    """Manifests of the main table, one a protocol."""
    return [
        path
        for path, record in records.items()
        if record.folder.startswith("tables/") and "protocol" in record.manifest["wildcards"]
    ]


def order_jobs(records: dict[str, Record], ends: list[str], metrics: set[str]) -> list[Job]:
    """The jobs from `ends` down to the sources, each before those that it read.

    Of a record's inputs below metrics/, only those in `metrics` are followed, because the
    collection reads every cell.
    """
    sources: dict[str, tuple[str, ...]] = {}
    pending = list(ends)
    while pending:
        path = pending.pop(0)
        if path in sources or path not in records:
            continue
        inputs = [resolve_input(records[path], link) for link in records[path].manifest["inputs"]]
        sources[path] = tuple(
            source
            for source in inputs
            if source in records and (not source.startswith("metrics/") or source in metrics)
        )
        pending += sources[path]
    unlisted_readers = {path: sum(path in read for read in sources.values()) for path in sources}
    ready = [path for path in sources if not unlisted_readers[path]]
    order = []
    while ready:
        path = ready.pop(0)
        order.append(Job(path, sources[path]))
        for source in sources[path]:
            unlisted_readers[source] -= 1
            if not unlisted_readers[source]:
                ready.append(source)
    return order


def _checked_value(root: Path, row: dict) -> float:
    """The row's value. Raises WagleError when the cell's own metrics hold another one."""
    path = root / "metrics" / cell_of(row).id / "metrics.json"
    try:
        metrics = read_json(path, limit=LARGE_LIMIT, strict=False)
        own = float(metrics[row["protocol"]][row["metric"]]["value"])
        collected = float(row["value"])
    except (KeyError, TypeError, ValueError):
        what = f"{row['metric']} under {row['protocol']}"
        raise WagleError(f"{path} has no {what}", do=DO_AUDIT) from None
    if collected != own:
        raise WagleError(
            f"{path} says {own}, the collected metrics {collected}", "one value", DO_AUDIT
        )
    return own


def worst_class(audit: Audit, folder: str) -> str:
    """The worst class among the files of a record's folder.

    Removed checkpoints count as intact and are named.
    """
    kinds = {f.kind for f in audit.findings if f.path.startswith(folder + "/")}
    for kind in ("altered", "missing", "stale"):
        if kind in kinds:
            return kind.upper()
    return "intact, some removed after use" if "temporary" in kinds else "intact"


def as_text(lineage: Lineage) -> str:
    """The number and the jobs behind it, for people."""
    about = lineage.about
    cell = [about.method, about.selection]
    cell += [f"ratio {about.ratio}"] * bool(about.ratio)
    cell += [f"gamma {about.gamma}"] * bool(about.gamma)
    name = f"{' '.join(part for part in cell if part)}, {about.metric} (protocol {about.protocol})"
    spread = f" ± {lineage.se:.4f}" if lineage.se is not None else ""
    lines = [f"{name}: {lineage.mean:.6g}{spread}"]
    seeds = [f"seed {seed}: {value:.6g}" for seed, value in lineage.values.items() if seed]
    lines += [", ".join(seeds)] * bool(seeds)
    for step in lineage.steps:
        lines += ["", *_step_lines(step)]
    bad = [str(step.number) for step in lineage.steps if not step.is_intact]
    verdict = f"NOT INTACT: step {', '.join(bad)}" if bad else "every step is intact"
    return "\n".join([*lines, "", f"{len(lineage.steps)} steps; {verdict}."]) + "\n"


def _step_lines(step: Step) -> list[str]:
    record, run, manifest = step.record, step.record.run or {}, step.record.manifest
    sources = f"made from {', '.join(map(str, step.sources))}" if step.sources else "a source"
    code = str(manifest["params"].get("code", "")).partition(":")[0]
    largest = sorted(manifest["outputs"].items(), key=lambda item: -item[1]["bytes"])[:3]
    details = [
        f"{sources}; record {record.digest[:12]}, code {code[:12]}",
        f"{run.get('started')}, {run.get('seconds')} s on {run.get('host')}",
        ", ".join(f"{name} {entry['sha256'][:12]}" for name, entry in largest),
        *(f"raw file {name}, sha256 {digest}" for name, digest in manifest["raw"].items()),
    ]
    if not step.sources:
        params = manifest["params"].items()
        details += [str(value)[:240] for name, value in params if name != "code"]
    heading = f"{step.number:3d}  {manifest['rule']}: {record.folder}  [{step.status}]"
    return [heading, *(f"     {detail}" for detail in details)]


def as_json(lineage: Lineage) -> dict:
    """The number and the jobs behind it, for programs."""
    return {
        "number": lineage.about._asdict(),
        "values": lineage.values,
        "mean": lineage.mean,
        "se": lineage.se,
        "steps": [_step_json(step) for step in lineage.steps],
    }


def _step_json(step: Step) -> dict:
    recorded = ("rule", "wildcards", "params", "raw", "outputs")
    return {
        "number": step.number,
        "made_from": step.sources,
        "folder": step.record.folder,
        "status": step.status,
        "record_sha256": step.record.digest,
        **{key: step.record.manifest[key] for key in recorded},
        "run": step.record.run,
    }
