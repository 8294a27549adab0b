"""Pack a results folder as an RO-Crate: for an archive such as Zenodo, without model weights.

    crate/  README.md  SHA256SUMS  config.json  ro-crate-metadata.json
            workflow/              the code that made it
            results/<experiment>/  everything recorded but weights, gradients and scores;
                                   archive.json says what was left out

The metadata follow the Workflow Run Crate profile (one run of one workflow). Each job's own record
lies among the results, and `wagle audit` works in the unpacked archive. The bytes of a .zip are a
function of the results and the code.

Notable: only a folder without problems in its audit is packed. The caller names the licence: for
rows and generated texts it is the data's, which no program can know.
Left out: the terms of the base model.
"""

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from wagle.audit.check import ARCHIVE, audit_folder
from wagle.audit.record_graph import Record, machines
from wagle.errors import WagleError
from wagle.runtime import handover
from wagle.runtime.files import json_text, sha256_file, write_json
from wagle.runtime.records import FORMAT

SOURCES = (
    "Snakefile",
    "rules",
    "workflow",
    "wagle",
    "config",
    "profiles",
    "environment.yml",
    "requirements.txt",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CITATION.cff",
    "docs",
)
WEIGHTS = (
    "models",
    "unlearned",
    "gradients",
    "row_gradients",
    "curvature",
    "activations",
    "scores",
)
WEIGHT_SUFFIXES = (".safetensors", ".bin")  # of the files below WEIGHTS that are not packed
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
BIOSCHEMAS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
README = """# {name}: results of a reproduction of WAGLE (arXiv 2410.17509)

`results/{name}/` holds every table, figure, metric, mask and scoring log of the experiment, each
beside its record (`manifest.json`: hashes of outputs and inputs, params, code; `run.json`: time,
machine, versions). `workflow/` is the code that made it. Model weights, gradients and scores are
left out; their hashes are in the records and in `results/{name}/archive.json`.

To check the files: `sha256sum --check SHA256SUMS`. To check the records and their links, with the
code of this archive:

    cd workflow && python -m pip install -r requirements.txt
    python -m wagle audit ../results/{name}

Where one number comes from:
`python -m wagle audit ../results/{name} --cell "npo wagle retain-acc"`.

Licence: {licence}. The code is MIT. Rows under `data/` and texts under `evaluations/` come from the
data set and carry its terms.
"""


@dataclass(frozen=True)
class CrateSummary:
    """What was packed: files, bytes of the crate, weight files left out, the audit's verdict."""

    files: int
    bytes: int
    left_out: int
    verdict: str


def build_crate(
    results: str | Path, output: str | Path, config: dict, licence: str
) -> CrateSummary:
    """Pack the folder `results` into `output`, a .zip or a new folder.

    `config` is the experiment's, and `licence` an address. Raises WagleError when the audit finds
    problems, when the config is another experiment's, or when `output` exists.
    """
    root, output = Path(results), Path(output)
    if output.exists():
        raise WagleError(f"{output} exists", "a new name")
    audit = audit_folder(root)
    if audit.verdict == "problems":
        raise WagleError(
            f"the audit of {root} found problems", "a clean folder", f"run wagle audit {root}"
        )
    name, recorded = config["experiment"], _recorded_experiment(audit.records)
    if recorded != name:
        raise WagleError(
            f"the config is experiment {name!r}'s",
            f"that of {recorded!r}",
            "name it with --configfile",
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="crate-", dir=output.parent) as scratch:
        folder = Path(scratch) / "crate"
        _copy_sources(folder / "workflow")
        left_out = _copy_results(root, audit.records, folder / "results" / name)
        (folder / "config.json").write_text(json_text(config), encoding="utf-8")
        readme = README.format(name=name, licence=licence)
        (folder / "README.md").write_text(readme, encoding="utf-8")
        _write_checksums(folder)
        _write_metadata(folder, name, audit.records, licence)
        files = sum(path.is_file() for path in folder.rglob("*"))
        if output.suffix == ".zip":
            write_zip(folder, output)
        else:
            folder.rename(output)
    return CrateSummary(files, _size(output), len(left_out), audit.verdict)


def _recorded_experiment(records: dict[str, Record]) -> str | None:
    """The experiment's name, as the record of the collected metrics has it."""
    record = records.get("collected/manifest.json")
    try:
        return json.loads(record.manifest["params"]["experiment"])[0]
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        return None


def is_weight_file(path: str) -> bool:
    """Is the file at `path`, below the results folder, one that is not packed?"""
    return path.split("/")[0] in WEIGHTS and path.endswith(WEIGHT_SUFFIXES)


def _copy_results(root: Path, records: dict[str, Record], target: Path) -> dict[str, str]:
    """Copy all recorded files but weights. Returns the weight files and their hashes."""
    left_out = {}
    for record in records.values():
        for name in ("manifest.json", "run.json", *record.manifest["outputs"]):
            file = f"{record.folder}/{name}"
            if not (root / file).is_file():
                continue
            if is_weight_file(file):
                left_out[file] = record.manifest["outputs"][name]["sha256"]
                continue
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / file, target / file)
    write_json(target / ARCHIVE, {"format": FORMAT, "left_out": left_out})
    return left_out


def _copy_sources(target: Path) -> None:
    target.mkdir(parents=True)
    compiled = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in SOURCES:
        source = handover.workflow_folder() / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=compiled)
        elif source.is_file():
            shutil.copyfile(source, target / name)


def _write_checksums(folder: Path) -> None:
    """Write SHA256SUMS: every file but itself and the metadata, which is written later."""
    paths = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("SHA256SUMS", "ro-crate-metadata.json")
    )
    lines = [f"{sha256_file(folder / path)}  {path}\n" for path in paths]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def _write_metadata(folder: Path, name: str, records: dict[str, Record], licence: str) -> None:
    """Write ro-crate-metadata.json for what lies in `folder`."""
    from rocrate.rocrate import ROCrate

    crate = ROCrate(version="1.1")  # the version that the Workflow Run Crate profile builds on
    started = sorted(str(record.run["started"]) for record in records.values() if record.run)
    runner = _entity(crate, "#runner", "Organization", name="Whoever ran the experiment")
    _describe_crate(crate, name, licence, published=started[-1][:10])
    crate.root_dataset["author"] = crate.root_dataset["publisher"] = runner

    workflow = _add_workflow(crate, folder, workflow_version(records))
    settings = _add_file(
        crate, folder, "config.json", "The experiment's config", "application/json"
    )
    results = crate.add_dataset(
        folder / "results" / name, f"results/{name}/", properties={"name": f"Results of {name}"}
    )
    results["description"] = "Artifacts with their records"
    settings["exampleOfWork"], results["exampleOfWork"] = workflow["input"], workflow["output"]

    action = crate.add_action(workflow, "#run", properties={"name": f"Run of experiment {name}"})
    action["object"], action["result"], action["agent"] = settings, results, runner
    action["startTime"], action["endTime"] = map(_with_offset, (started[0], started[-1]))
    action["description"] = "; ".join(machines(records))
    crate.root_dataset["mentions"] = action

    title = "How to read and check this archive"
    readme = _add_file(crate, folder, "README.md", title, "text/markdown")
    readme["about"] = {"@id": "./"}
    _add_file(crate, folder, "SHA256SUMS", "Checksums of every file", "text/plain")
    for path in sorted((folder / "results" / name).glob("tables/**/*")):
        media_type = {".csv": "text/csv", ".md": "text/markdown"}.get(path.suffix)
        if media_type:
            place = path.relative_to(folder).as_posix()
            _add_file(crate, folder, place, f"Table {path.name}", media_type)
    (folder / "ro-crate-metadata.json").write_text(
        json_text(crate.metadata.generate()), encoding="utf-8"
    )


def _entity(crate, address: str, kind: str, **properties):
    from rocrate.model.contextentity import ContextEntity

    return crate.add(ContextEntity(crate, address, properties={"@type": kind, **properties}))


def _add_file(crate, folder: Path, path: str, title: str, media_type: str):
    properties = {"name": title, "description": title, "encodingFormat": media_type}
    return crate.add_file(folder / path, path, properties=properties)


def _describe_crate(crate, name: str, licence: str, published: str) -> None:
    crate.name, crate.datePublished = f"WAGLE reproduction: {name}", published
    crate.description = (
        f"Tables, figures, metrics, masks and records of experiment {name}: "
        "which weights to update in unlearning."
    )
    description = "Licence of the results"
    crate.license = _entity(crate, licence, "CreativeWork", name=licence, description=description)
    crate.root_dataset["conformsTo"] = [
        _entity(crate, address, "CreativeWork", name=title, version=version)
        for address, (title, version) in PROFILES.items()
    ]


def _add_workflow(crate, folder: Path, version: str):
    """The workflow with its input, the config, and its output, the results, as parameters."""
    workflow = crate.add_workflow(
        folder / "workflow/Snakefile", "workflow/Snakefile", main=True, lang="snakemake"
    )
    workflow["name"], workflow["version"] = "wagle", version
    workflow["encodingFormat"] = "text/plain"
    workflow["description"] = "From a base model and a data set to the paper's tables and figures"
    workflow["license"] = "https://spdx.org/licenses/MIT"
    workflow["url"] = "https://arxiv.org/abs/2410.17509"
    workflow["conformsTo"] = {"@id": BIOSCHEMAS}
    workflow["input"] = crate.add_formal_parameter(
        "config", "File", "#config", "The experiment's settings", True
    )
    workflow["output"] = crate.add_formal_parameter(
        "results", "Dataset", "#results", "Tables, figures, all behind them", True
    )
    return workflow


def _with_offset(time: str) -> str:
    """A UTC time that ends with Z, with its offset written out."""
    return time.removesuffix("Z") + "+00:00"


def workflow_version(records: dict[str, Record]) -> str:
    """Short hash over the code identities of all records.

    It is the version of the workflow as far as it made these results.
    """
    codes = sorted({str(record.manifest["params"].get("code")) for record in records.values()})
    return hashlib.sha256("\n".join(codes).encode()).hexdigest()[:12]


def write_zip(folder: Path, path: Path) -> None:
    """`folder` as a zip, whole or not at all. Its bytes depend on names and contents alone."""
    part = path.with_name(path.name + ".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), (1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            with archive.open(entry, "w", force_zip64=True) as target, open(file, "rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
    os.replace(part, path)


def _size(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)
