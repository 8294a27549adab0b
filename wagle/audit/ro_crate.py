"""A results folder as an RO-Crate: for an archive such as Zenodo, with checksums, without model weights.

    crate/  README.md  SHA256SUMS  ro-crate-metadata.json
            workflow/              the code that made it
            results/<experiment>/  everything recorded but weights, gradients and scores; archive.json says what was left out

The metadata follow the Workflow Run Crate profile (one run of one workflow); each job's own record lies among the results, and
`wagle audit` works in the unpacked archive. As a .zip the bytes are a function of the results and the code.

Notable: only a folder that the audit finds whole is packed, and only with a licence that the caller names: for rows and
generated texts it is the data's, which no program can know. Left out: the terms of the base model.
"""

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from wagle.audit import audit
from wagle.audit.audit import Record
from wagle.errors import WagleError
from wagle.runtime import handover
from wagle.runtime.files import json_text, sha256_file, write_json
from wagle.runtime.records import FORMAT

SOURCES = ("Snakefile", "rules", "workflow", "wagle", "config", "profiles", "environment.yml", "requirements.txt",
           "pyproject.toml", "README.md", "LICENSE", "CITATION.cff", "docs")  # fmt: skip
WEIGHTS = (
    "models",
    "unlearned",
    "gradients",
    "activations",
    "scores",
)  # their .safetensors and .bin files stay at home
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
README = """# {name}: results of a reproduction of WAGLE (arXiv 2410.17509)

`results/{name}/` holds every table, figure, metric, mask and scoring log of the experiment, each beside its record
(`manifest.json`: hashes of outputs and inputs, params, code; `run.json`: time, machine, versions). `workflow/` is the code that
made it. Model weights, gradients and scores are left out; their hashes are in the records and in `results/{name}/archive.json`.

To check the files: `sha256sum --check SHA256SUMS`. To check the records and their links, with the code of this archive:

    cd workflow && python -m pip install -r requirements.txt && python -m wagle.cli audit ../results/{name}

Where one number comes from: `python -m wagle.cli audit ../results/{name} --cell "npo wagle retain-acc"`.

Licence: {licence}. The code is MIT. Rows under `data/` and texts under `evaluations/` come from the data set and carry its terms.
"""


def is_left_out(path: str) -> bool:
    parts = path.split("/")
    return parts[0] in WEIGHTS and path.endswith((".safetensors", ".bin"))


def _copy_results(root: Path, records: dict[str, Record], target: Path) -> None:
    left_out = {}
    for record in records.values():
        for name in ("manifest.json", "run.json", *record.manifest["outputs"]):
            file = f"{record.folder}/{name}"
            if not (root / file).is_file():
                continue
            if is_left_out(file):
                left_out[file] = record.manifest["outputs"][name]["sha256"]
                continue
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / file, target / file)
    write_json(target / audit.ARCHIVE, {"format": FORMAT, "left_out": left_out})


def _copy_sources(target: Path) -> None:
    target.mkdir(parents=True)
    for name in SOURCES:
        source = handover.workflow_folder() / name
        if source.is_dir():
            shutil.copytree(
                source, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
            )
        elif source.is_file():
            shutil.copyfile(source, target / name)


def _metadata(folder: Path, name: str, records: dict[str, Record], licence: str) -> None:
    """Write ro-crate-metadata.json for what lies in `folder`."""
    from rocrate.model.contextentity import ContextEntity
    from rocrate.rocrate import ROCrate

    crate = ROCrate(version="1.1")  # the version that the Workflow Run Crate profile builds on

    def entity(address, kind, **properties):
        return crate.add(ContextEntity(crate, address, properties={"@type": kind, **properties}))

    def file(path, title, kind):
        return crate.add_file(
            folder / path,
            path,
            properties={"name": title, "description": title, "encodingFormat": kind},
        )

    runs = [record.run for record in records.values() if record.run]
    began, ended = (pick(str(run["started"]) for run in runs) for pick in (min, max))
    root, person = (
        crate.root_dataset,
        entity("#runner", "Organization", name="Whoever ran the experiment"),
    )
    crate.name, crate.datePublished = f"WAGLE reproduction: {name}", ended[:10]
    crate.description = f"Tables, figures, metrics, masks and records of experiment {name}: which weights to update in unlearning."
    crate.license = entity(
        licence, "CreativeWork", name=licence, description="Licence of the results"
    )
    root["conformsTo"] = [
        entity(a, "CreativeWork", name=title, version=version)
        for a, (title, version) in PROFILES.items()
    ]
    root["author"] = root["publisher"] = person

    workflow = crate.add_workflow(
        folder / "workflow/Snakefile", "workflow/Snakefile", main=True, lang="snakemake"
    )
    workflow["name"], workflow["version"], workflow["encodingFormat"] = (
        "wagle",
        code(records),
        "text/plain",
    )
    workflow["description"] = "From a base model and a data set to the paper's tables and figures"
    workflow["license"], workflow["url"] = (
        "https://spdx.org/licenses/MIT",
        "https://arxiv.org/abs/2410.17509",
    )
    workflow["conformsTo"] = {
        "@id": "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
    }
    workflow["input"] = given = crate.add_formal_parameter(
        "config", "File", "#config", "The experiment's settings", True
    )
    workflow["output"] = made = crate.add_formal_parameter(
        "results", "Dataset", "#results", "Tables, figures, all behind them", True
    )

    settings = file("config.json", "The experiment's config", "application/json")
    results = crate.add_dataset(
        folder / "results" / name, f"results/{name}/", properties={"name": f"Results of {name}"}
    )
    results["description"] = "Artifacts with their records"
    settings["exampleOfWork"], results["exampleOfWork"] = given, made
    action = crate.add_action(workflow, "#run", properties={"name": f"Run of experiment {name}"})
    action["object"], action["result"], action["agent"] = settings, results, person
    action["startTime"], action["endTime"] = (
        time.removesuffix("Z") + "+00:00" for time in (began, ended)
    )
    action["description"] = "; ".join(audit.machines(records))
    root["mentions"] = action

    file("README.md", "How to read and check this archive", "text/markdown")["about"] = {
        "@id": "./"
    }
    file("SHA256SUMS", "Checksums of every file", "text/plain")
    for path in sorted(
        p for p in (folder / "results" / name).glob("tables/**/*") if p.suffix in (".csv", ".md")
    ):
        file(
            path.relative_to(folder).as_posix(),
            f"Table {path.name}",
            "text/csv" if path.suffix == ".csv" else "text/markdown",
        )
    (folder / "ro-crate-metadata.json").write_text(
        json_text(crate.metadata.generate()), encoding="utf-8"
    )


def code(records: dict[str, Record]) -> str:
    """Short hash over the code identities of all records: the version of the workflow as far as it made these results."""
    found = sorted({str(record.manifest["params"].get("code")) for record in records.values()})
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:12]


def _checksums(folder: Path) -> None:
    paths = sorted(
        p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if p.is_file() and p.name not in ("SHA256SUMS", "ro-crate-metadata.json")
    )
    (folder / "SHA256SUMS").write_text(
        "".join(f"{sha256_file(folder / path)}  {path}\n" for path in paths), encoding="utf-8"
    )


def write_zip(folder: Path, path: Path) -> None:
    """`folder` as a zip whose bytes depend on names and contents alone; whole or not at all."""
    part = path.with_name(path.name + ".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), (1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            with archive.open(entry, "w", force_zip64=True) as target, open(file, "rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
    os.replace(part, path)


def build(results: str | Path, output: str | Path, config: dict, licence: str) -> dict:
    """Pack the folder `results` into `output`, a .zip or a new folder; returns {files, bytes, left_out}.

    Raises WagleError when the audit finds problems, or `output` exists.
    """
    root, output = Path(results), Path(output)
    if output.exists():
        raise WagleError(f"{output} exists", "a new name")
    found = audit.audit(root)
    if found.verdict == "problems":
        raise WagleError(
            f"the audit of {root} found problems", "a clean folder", f"run wagle audit {root}"
        )
    name = config["experiment"]
    if _experiment(found.records) != name:
        raise WagleError(
            f"the config is experiment {name!r}'s",
            f"that of {_experiment(found.records)!r}",
            "name it with --configfile",
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="crate-", dir=output.parent) as scratch:
        folder = Path(scratch) / "crate"
        _copy_sources(folder / "workflow")
        _copy_results(root, found.records, folder / "results" / name)
        (folder / "config.json").write_text(json_text(config), encoding="utf-8")
        (folder / "README.md").write_text(
            README.format(name=name, licence=licence), encoding="utf-8"
        )
        _checksums(folder)
        _metadata(folder, name, found.records, licence)
        files = [path for path in folder.rglob("*") if path.is_file()]
        left_out = json.loads((folder / "results" / name / audit.ARCHIVE).read_text())["left_out"]
        if output.suffix == ".zip":
            write_zip(folder, output)
        else:
            folder.rename(output)
    return {
        "files": len(files),
        "bytes": _size(output),
        "left_out": len(left_out),
        "audit": found.verdict,
    }


def _experiment(records: dict[str, Record]) -> str | None:
    """The experiment's name, as the record of the collected metrics has it."""
    record = records.get("collected/manifest.json")
    try:
        return json.loads(record.manifest["params"]["experiment"])[0]
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        return None


def _size(path: Path) -> int:
    return (
        path.stat().st_size
        if path.is_file()
        else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    )
