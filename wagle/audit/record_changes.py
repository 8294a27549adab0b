"""What was done differently in two results folders, and which files differ in their bytes.

Code, config, data and environment are compared through the records of the jobs that both folders
have. Bytes are compared file by file.

Notable: a few jobs measure the run itself, such as its running time. Their outputs differ each
time, so they and all that was made from them are listed apart.
Left out: whether a difference in numbers is more than chance (wagle/audit/compare.py).
"""

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from wagle.audit.record_graph import Record, descendants, load_records
from wagle.runtime.files import sha256_file

MEASURING_RULES = ("timing",)  # their outputs are measurements of the run itself
ENVIRONMENT = (
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


@dataclass(frozen=True)
class BytesComparison:
    """The files of two folders, byte for byte.

    `alike` counts equal files by top-level folder. `different` and `measured` are paths of files
    that differ; those in `measured` differ because they measure the run itself.
    """

    alike: dict[str, int]
    different: list[str]
    measured: list[str]


def changed_conditions(first: str | Path, second: str | Path) -> dict[str, list[str]]:
    """What was done differently, by kind: code, config, data, environment.

    Each difference is named once, with the number of jobs that have it. Raises WagleError when one
    of the two is no folder.
    """
    one, two = (load_records(Path(root)).records for root in (first, second))
    changes = {kind: Counter() for kind in ("code", "config", "data", "environment")}
    for path in sorted(one.keys() & two.keys()):
        old, new = one[path], two[path]
        changes["code"].update(_code_changes(old, new))
        changes["config"].update(_config_changes(old, new))
        changes["data"].update(_data_changes(path, old, new))
        changes["environment"].update(_environment_changes(old, new))
    return {
        kind: [f"{change} ({count} jobs)" for change, count in counter.most_common()]
        for kind, counter in changes.items()
    }


def _code_changes(old: Record, new: Record) -> list[str]:
    codes = [record.manifest["params"].get("code") for record in (old, new)]
    if codes[0] == codes[1]:
        return []
    return [f"{old.manifest['rule']}: {str(codes[1]).partition(':')[2]}"]


def _config_changes(old: Record, new: Record) -> list[str]:
    params = [record.manifest["params"] for record in (old, new)]
    return [
        f"{old.manifest['rule']}: {change}"
        for key in sorted((params[0].keys() | params[1].keys()) - {"code"})
        for change in _value_changes(*(_parsed(side.get(key)) for side in params), key)
    ]


def _data_changes(path: str, old: Record, new: Record) -> list[str]:
    if old.manifest["raw"] != new.manifest["raw"]:
        return [f"{old.folder}: raw files differ"]
    if path.startswith("data/") and old.manifest["outputs"] != new.manifest["outputs"]:
        return [f"{old.folder}: other rows"]
    return []


def _environment_changes(old: Record, new: Record) -> list[str]:
    runs = [record.run or {} for record in (old, new)]
    return [
        change
        for key in ENVIRONMENT
        for change in _value_changes(runs[0].get(key), runs[1].get(key), key)
    ]


def _parsed(value):
    """A param as the JSON value that it holds; itself where it holds none."""
    try:
        return json.loads(value)
    except (TypeError, ValueError, RecursionError):
        return value


def _value_changes(old, new, where: str) -> list[str]:
    """The differences of two JSON values; mappings are compared key by key."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            change
            for key in sorted(old.keys() | new.keys())
            for change in _value_changes(old.get(key), new.get(key), f"{where}.{key}")
        ]
    return [] if old == new else [f"{where} {_shortened(old)} -> {_shortened(new)}"]


def _shortened(value) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def measuring_records(records: dict[str, Record]) -> set[str]:
    """Manifests of the jobs that measure the run itself, and of all that was made from them."""
    measuring = {p for p, record in records.items() if record.manifest["rule"] in MEASURING_RULES}
    return measuring | descendants(records, measuring)


def compare_bytes(first: str | Path, second: str | Path) -> BytesComparison:
    """Read every recorded file and every manifest in both folders, and compare their hashes.

    A manifest also holds the hashes of removed checkpoints. Raises WagleError when one of the two
    is no folder.
    """
    roots = (Path(first), Path(second))
    sides = [load_records(root).records for root in roots]
    measuring = measuring_records(sides[0])
    alike, different, measured = Counter(), [], []
    for path in sorted(sides[0].keys() | sides[1].keys()):
        top, folder = path.split("/")[0], os.path.dirname(path)
        names = {name for side in sides if path in side for name in side[path].manifest["outputs"]}
        for file in [path, *(f"{folder}/{name}" for name in sorted(names))]:
            hashes = [_hash(root / file) for root in roots]
            if hashes[0] == hashes[1]:
                alike[top] += hashes[0] is not None
            elif path in measuring:
                measured.append(file)
            else:
                different.append(file)
    return BytesComparison(dict(alike), different, measured)


def _hash(path: Path) -> str | None:
    return sha256_file(path) if path.is_file() else None
