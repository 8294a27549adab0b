"""A job's outputs and its record, whole or not at all.

`recorded(job)` wraps one job: inputs are checked against the records of the jobs that made them, outputs are written
under temporary names, hashed, flushed and renamed, and two records land beside them:

    manifest.json  what the outputs are a function of: their hashes, the hashes of the input records and raw files, params,
                   code, wildcards. Deterministic, so a re-run that gives the same outputs gives the same bytes.
    run.json       what this run was: time, memory, host, package versions, the manifest's hash, and a hash of itself.

The manifest is written last: where it exists, everything it lists was complete. Paths in it are relative to its own
folder and raw files (a user's data) are named without their place, so a results folder can be moved and shown.

Notable: `job` is any object with rule, input, output, params, wildcards and log, such as Snakemake's; the library
itself does not know Snakemake. Records may come from strangers: they are bounded in size and name nothing outside
their results folder's shape. An input called `checked` is waited for, not read, and so is not part of a record.
Left out: following the links from a table cell to the model (wagle/audit.py and wagle/lineage.py do that).
"""

import contextlib
import hashlib
import importlib
import json
import os
import platform
import re
import resource
import shutil
import stat
import sys
import time
import traceback
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

from wagle import identity
from wagle.errors import WagleError

FORMAT = 2
MAX_BYTES = 64 * 2**20  # of a record: the largest real one names a few thousand files
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


def json_text(value) -> str:
    """The one way in which this project writes JSON: sorted keys, indented, UTF-8."""
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def write_json(path: Path, value) -> None:
    """Write `value` as indented JSON with sorted keys, atomically."""
    part = path.with_name(path.name + ".part")
    part.write_text(json_text(value), encoding="utf-8")
    _flush(part)
    os.replace(part, path)


AGAIN = "delete it; its job then runs again"


def read_json(path: str | Path, most: int = MAX_BYTES):
    """The JSON value in `path`. Raises WagleError when it is missing, no regular file, larger than `most` bytes or not JSON."""
    path = Path(path)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > most:
            raise WagleError(
                f"{path} is no file of a fitting size ({found.st_size} bytes)", f"a file of at most {most} bytes", AGAIN
            )
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
        json_text(value).encode()  # half a surrogate pair can be parsed, but never written
        return value
    except OSError as error:
        raise WagleError(f"{path} cannot be read: {error.strerror}", do="run the job that makes it again") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, a number of thousands of digits, nested too deep
        raise WagleError(f"{path} is not readable JSON: {str(error)[:200]}", do=AGAIN) from None


def _no_constant(name: str):
    raise ValueError(f"{name} is no JSON value")


def inside(name) -> bool:
    """Is `name` a plain relative path that stays below its folder?"""
    if not isinstance(name, str) or not name or "\\" in name or not name.isprintable():
        return False
    return all(part not in ("", ".", "..") for part in name.split("/"))


def _is_hash(value) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _is_link(name) -> bool:
    """Is `name` the relative path of another record: up some folders, then down?"""
    return isinstance(name, str) and name.endswith("manifest.json") and inside(re.sub(r"^(\.\./)+", "", name))


def read_manifest(path: str | Path) -> dict:
    """The manifest at `path`. Raises WagleError when it is missing, malformed, or names a path that it must not."""
    manifest = read_json(path)
    if not isinstance(manifest, dict) or type(manifest.get("format")) is not int or manifest["format"] != FORMAT:
        raise WagleError(f"{path} has not format {FORMAT}", do="re-run with this version of wagle")
    for key in ("outputs", "inputs", "raw", "params", "wildcards"):
        if not isinstance(manifest.get(key), dict):
            raise WagleError(f"{path} has no {key}", "a mapping", AGAIN)
    if not isinstance(manifest.get("rule"), str) or not all(isinstance(v, str) for v in manifest["wildcards"].values()):
        raise WagleError(f"{path} has no rule, or wildcards that are no texts", do=AGAIN)
    for name, entry in manifest["outputs"].items():
        fits = isinstance(entry, dict) and _is_hash(entry.get("sha256")) and type(entry.get("bytes")) is int
        if not fits or not inside(name):
            raise WagleError(f"{path} lists the output {name[:200]!r}", "a path below its folder, with sha256 and bytes", AGAIN)
    for name, digest in manifest["inputs"].items():
        if not _is_hash(digest) or not _is_link(name):
            raise WagleError(f"{path} lists the input {name[:200]!r}", "another record's relative path and sha256", AGAIN)
    for name, digest in manifest["raw"].items():
        if not _is_hash(digest) or not inside(name):
            raise WagleError(f"{path} lists the raw file {name[:200]!r}", "a file's name and sha256", AGAIN)
    return manifest


def read_run(path: str | Path) -> dict:
    """The run record at `path`. Raises WagleError when a byte of it is not what was written."""
    run = read_json(path)
    if not isinstance(run, dict) or not _is_hash(run.get("manifest_sha256")) or type(run.get("seconds")) not in (int, float):
        raise WagleError(f"{path} is not a run record", do=AGAIN)
    body = {key: value for key, value in run.items() if key != "sha256"}
    if run.get("sha256") != _text_hash(json_text(body)) or Path(path).read_bytes() != json_text(run).encode():
        raise WagleError(f"{path} is not what its job wrote: its own hash differs", do=AGAIN)
    return run


def run_of(manifest: Path) -> dict:
    """The run record beside `manifest`. Raises WagleError when it is altered, or another record's."""
    run = read_run(manifest.with_name("run.json"))
    if run["manifest_sha256"] != sha256_file(manifest):
        raise WagleError(f"{manifest} is not the record that run.json beside it belongs to", do=AGAIN)
    return run


def _text_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _flat(named) -> list[str]:
    items = named.values() if isinstance(named, dict) else named
    return [p for item in items for p in ([item] if isinstance(item, (str, Path)) else item)]


def _short(paths: list[str]) -> list[str]:
    """The paths by their last parts, as few as keep them apart: a user's folders are nobody's business."""
    parts = [Path(os.path.abspath(path)).parts[1:] for path in paths]
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(p[-length:]) for p in parts]
        if len(set(names)) == len(set(paths)):
            return names
    return paths


def check_inputs(paths: list[str]) -> dict[str, str]:
    """sha256 by path of every record and raw file among `paths`; artifacts are compared with their record, among `paths` too.

    Raises WagleError when an artifact's bytes are not those its own job recorded, or the record is not what its job wrote.
    """
    hashes, listed, folders = {}, {}, {}
    for path in map(Path, paths):
        if path.name == "manifest.json":
            hashes[str(path)] = sha256_file(path)
            folders[path.parent] = path
            for name, entry in read_manifest(path)["outputs"].items():
                listed[path.parent / name] = entry["sha256"]
            run_of(path)
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
    """Package versions, interpreter, processor, threads and accelerator of this process."""
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
        "threads": torch.get_num_threads() if torch else None,
        "accelerator": gpu,
        "accelerators": torch.cuda.device_count() if gpu else 0,
        "deterministic": bool(torch and torch.are_deterministic_algorithms_enabled()),
    }


def be_deterministic() -> None:
    """The switch WAGLE_DETERMINISTIC=1: where an accelerator's fast kernel gives other bits from run to run, take the slow one.

    On a CPU it changes nothing. An operation that has no such kernel stops the job.
    """
    torch = sys.modules.get("torch")
    if torch and os.environ.get("WAGLE_DETERMINISTIC") == "1":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


def _peak_memory() -> dict:
    """Of this process or of the largest that it started."""
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    peak = {"peak_rss_mb": round(most / 1024, 1)}
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
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
        except Exception as error:
            traceback.print_exc()
            os.write(terminal, f"error: {type(error).__name__}: {error}. To do: see {log}\n".encode())
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
    base, gate = manifest_path.parent, getattr(job.input, "checked", None)
    devices = importlib.import_module("wagle.devices")  # by name: which GPU a job gets is no part of what it computes
    gpus = getattr(job, "resources", {}).get("gpu") or 0
    with _logged(job.log[0] if job.log else None), devices.lent(gpus):
        started = time.time()
        if "code" in params:
            identity.check_code_identity(params["code"])
        be_deterministic()
        inputs = check_inputs([path for path in _flat(job.input) if path != gate])
        part = {name: path.with_name(path.name + ".part") for name, path in outputs.items()}
        for path in part.values():
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove(path)
        raw = {path: digest for path, digest in inputs.items() if Path(path).name != "manifest.json"}
        resume = base / "resume.part"
        same_run = hashlib.sha256(identity.canonical([params, inputs]).encode()).hexdigest()
        yield SimpleNamespace(**part, resume=resume, identity=same_run)

        listed = {}
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
            "inputs": {os.path.relpath(path, base): digest for path, digest in inputs.items() if path not in raw},
            "raw": dict(zip(_short(list(raw)), raw.values(), strict=True)),
            "outputs": listed,
            "params": params,
        }
        _remove(manifest_path)
        for name, path in part.items():
            _remove(outputs[name])
            os.replace(path, outputs[name])
        run = {
            "format": FORMAT,
            "manifest_sha256": _text_hash(json_text(manifest)),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "seconds": round(time.time() - started, 3),
            **_peak_memory(),
            **environment(),
        }
        write_json(base / "run.json", run | {"sha256": _text_hash(json_text(run))})
        write_json(manifest_path, manifest)
        if resume.exists():
            shutil.rmtree(resume)
