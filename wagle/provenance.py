"""A job's outputs and its record, whole or not at all.

`recorded(job)` wraps one job: inputs are checked against the records of the jobs that made them, outputs are written
under temporary names, hashed, flushed and renamed, and two records land beside them:

    manifest.json  what the outputs are a function of: their hashes, the hashes of the input records, params, code,
                   wildcards. Deterministic, so a re-run that gives the same outputs gives the same bytes.
    run.json       what this run was: time, memory, host, package versions, and the manifest's hash.

The manifest is written last: where it exists, everything it lists was complete. Paths in it are relative to its own
folder, so a results folder can be moved.

Notable: `job` is any object with rule, input, output, params, wildcards and log, such as Snakemake's; the library
itself does not know Snakemake. Left out: following the links from a table cell to the model (the audit does that).
"""

import contextlib
import hashlib
import importlib
import json
import os
import platform
import resource
import shutil
import sys
import time
import traceback
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

from wagle import identity
from wagle.errors import WagleError

FORMAT = 1
PACKAGES = ("torch", "transformers", "peft", "safetensors", "tokenizers", "numpy", "scipy", "scikit-learn", "pandas",
            "sentence-transformers", "rouge-score", "matplotlib", "snakemake")  # fmt: skip


def sha256_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(path: Path) -> list[Path]:
    """The files of an artifact; the workflow engine's own time stamp inside a folder is not part of it."""
    if not path.is_dir():
        return [path]
    return sorted(p for p in path.rglob("*") if p.is_file() and p.name != ".snakemake_timestamp")


def _flush(path: Path) -> None:
    for file in _files(path):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def write_json(path: Path, value) -> None:
    """Write `value` as indented JSON with sorted keys, atomically."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    _flush(part)
    os.replace(part, path)


def read_manifest(path: str | Path) -> dict:
    """The manifest at `path`. Raises WagleError when it is missing, not JSON, or not of this format."""
    path = Path(path)
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WagleError(f"no record at {path}", do="run the job that makes it again") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise WagleError(f"{path} is not a readable record: {error}", do="delete it; its job then runs again") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise WagleError(f"{path} has not format {FORMAT}", do="re-run with this version of wagle")
    if not isinstance(manifest.get("outputs"), dict):
        raise WagleError(f"{path} lists no outputs", do="delete it; its job then runs again")
    return manifest


def _flat(named) -> list[str]:
    items = named.values() if isinstance(named, dict) else named
    return [p for item in items for p in ([item] if isinstance(item, (str, Path)) else item)]


def check_inputs(paths: list[str]) -> dict[str, str]:
    """sha256 by path of every record and raw file among `paths`; artifacts are compared with the record beside them.

    Raises WagleError when an artifact's bytes are not those its own job recorded.
    """
    hashes, listed, folders = {}, {}, {}
    for path in map(Path, paths):
        if path.name == "manifest.json":
            hashes[str(path)] = sha256_file(path)
            folders[path.parent] = path
            for name, entry in read_manifest(path)["outputs"].items():
                listed[path.parent / name] = entry["sha256"]
    for path in map(Path, paths):
        if path.name == "manifest.json":
            continue
        owner = next((folders[parent] for parent in path.parents if parent in folders), None)
        for name in listed:
            if (name == path or path in name.parents) and not name.is_file():
                raise WagleError(f"{name} is gone, which {owner} recorded", do=f"delete {path} so that its job runs again")
        for file in _files(path):
            found = sha256_file(file)
            if owner is None:
                hashes[str(file)] = found
            elif listed.get(file) != found:
                raise WagleError(
                    f"{file} is not what {owner} recorded",
                    f"sha256 {listed.get(file, '(not listed)')}, found {found}",
                    f"delete {path} so that its job runs again, and find out who changed it",
                )
    return hashes


def environment() -> dict:
    """Package versions, interpreter, processor and accelerator of this process."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None
    return {
        "python": platform.python_version(),
        "packages": versions,
        "host": platform.node(),
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "accelerator": gpu,
    }


def _peak_memory() -> dict:
    peak = {"peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)}
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        peak["peak_gpu_mb"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return peak


@contextlib.contextmanager
def _logged(log: str | None):
    """Send both output streams, those of native code too, to the job's log; on failure say why and exit with 1."""
    if not log:
        yield
        return
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with open(log, "w", encoding="utf-8") as file:
        terminal = os.dup(2)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        except WagleError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            os.write(terminal, f"error: {error}\n".encode())
            sys.exit(1)
        except OSError as error:
            traceback.print_exc()
            os.write(terminal, f"error: {error}. To do: see {log}\n".encode())
            sys.exit(1)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()


@contextlib.contextmanager
def recorded(job):
    """Run one job: yields a namespace with a temporary path for each named output (all but `manifest`).

    The namespace also has `resume`, a folder that survives a killed run and is removed on success, and `identity`, a hash
    of params and inputs, by which a later run tells whether a state found there is its own.
    Nothing appears under a final name unless the block ends without an exception. Raises WagleError when an input was
    altered, the code changed since planning, or the block left an output unwritten.
    """
    params = dict(job.params.items())
    outputs = {name: Path(path) for name, path in job.output.items()}
    manifest_path = outputs.pop("manifest")
    devices = importlib.import_module("wagle.devices")  # by name: which GPU a job gets is no part of what it computes
    gpus = getattr(job, "resources", {}).get("gpu") or 0
    with _logged(job.log[0] if job.log else None), devices.lent(gpus):
        started = time.time()
        if "code" in params:
            identity.check_code_identity(params["code"])
        inputs = check_inputs(_flat(job.input))
        part = {name: path.with_name(path.name + ".part") for name, path in outputs.items()}
        for path in part.values():
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove(path)
        resume = manifest_path.parent / "resume.part"
        same_run = hashlib.sha256(identity.canonical([params, inputs]).encode()).hexdigest()
        yield SimpleNamespace(**part, resume=resume, identity=same_run)

        listed, base = {}, manifest_path.parent
        for name, path in part.items():
            if not path.exists():
                raise WagleError(f"rule {job.rule} wrote no output {name!r} ({path})", do="report this defect")
            _flush(path)
            for file in _files(path):
                final = outputs[name] / file.relative_to(path) if path.is_dir() else outputs[name]
                listed[os.path.relpath(final, base)] = {"sha256": sha256_file(file), "bytes": file.stat().st_size}
        manifest = {
            "format": FORMAT,
            "rule": job.rule,
            "wildcards": dict(job.wildcards.items()),
            "inputs": {os.path.relpath(path, base): digest for path, digest in inputs.items()},
            "outputs": listed,
            "params": params,
        }
        for name, path in part.items():
            _remove(outputs[name])
            os.replace(path, outputs[name])
        body = json.dumps(manifest, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
        write_json(
            base / "run.json",
            {
                "format": FORMAT,
                "manifest_sha256": hashlib.sha256(body.encode()).hexdigest(),
                "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
                "seconds": round(time.time() - started, 3),
                **_peak_memory(),
                **environment(),
            },
        )
        write_json(manifest_path, manifest)
        if resume.exists():
            shutil.rmtree(resume)
