"""One job of the pipeline: its outputs and records, whole or not at all.

`recorded(job)` wraps one job. It checks the inputs against the records of the jobs that made them.
Outputs are written under temporary names, hashed, flushed and renamed. manifest.json and run.json
(wagle/runtime/records.py) are written beside them. The manifest is written last: where it exists,
everything it lists was complete.

Notable: `job` is any object with rule, input, output, params, wildcards and log, such as
Snakemake's. The library itself does not know Snakemake. An input called `checked` is waited for,
not read, and so is not part of a record.
Left out: reading records (wagle/runtime/records.py).
"""

import contextlib
import hashlib
import importlib
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

from wagle.errors import WagleError
from wagle.runtime import identity
from wagle.runtime.files import (
    artifact_files,
    flush,
    json_text,
    part,
    remove,
    sha256_file,
    sha256_text,
    write_part,
)
from wagle.runtime.handover import own_name
from wagle.runtime.records import FORMAT, check_inputs, flat_paths, short_names

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "safetensors",
    "tokenizers",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "sentence-transformers",
    "rouge-score",
    "matplotlib",
    "snakemake",
)


def environment() -> dict:
    """Package versions, interpreter, processor, threads and accelerator of this process."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    torch = sys.modules.get("torch")
    gpu = None
    with contextlib.suppress(RuntimeError):  # a device that fails now must not fail a finished job
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
    """With WAGLE_DETERMINISTIC=1 in the environment, let torch take deterministic kernels only.

    They are slower on an accelerator and change nothing on a CPU. An operation that has no such
    kernel stops the job.
    """
    torch = sys.modules.get("torch")
    if torch and os.environ.get("WAGLE_DETERMINISTIC") == "1":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


def _peak_memory() -> dict:
    """Peak memory of this process or of the largest that it started, in MB."""
    kilobytes = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    peak = {"peak_rss_mb": round(kilobytes / 1024, 1)}
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        with contextlib.suppress(RuntimeError):
            peak["peak_gpu_mb"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return peak


@contextlib.contextmanager
def _logged(log: str | None):
    """Send both output streams, those of native code too, to the job's log.

    On failure say why on the terminal, and exit with 1.
    """
    if not log:
        yield
        return
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with open(log, "w", encoding="utf-8") as file:
        # where the run's console prints causes from the logs (wagle/runtime/console.py),
        # once is enough
        told = os.environ.get("WAGLE_CONSOLE") == "on"
        terminal = os.open(os.devnull, os.O_WRONLY) if told else os.dup(2)
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
            cause = f"error: {type(error).__name__}: {error}. To do: see {log}\n"
            print(cause, end="", file=sys.stderr, flush=True)
            os.write(terminal, cause.encode())
            sys.exit(1)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()


@contextlib.contextmanager
def recorded(job):
    """Run one job: yields a namespace with a temporary path for each named output but `manifest`.

    The namespace also has `resume`, a folder that survives a killed run and is removed on success,
    and `identity`, a hash of params and inputs. By it a later run tells whether a state in that
    folder is its own.

    Nothing appears under a final name unless the block ends without an exception. Raises WagleError
    when an input was altered, when the code changed since planning, or when the block did not write
    an output.
    """
    params = dict(job.params.items())
    outputs = {name: Path(path) for name, path in job.output.items()}
    manifest_path = outputs.pop("manifest")
    base, gate = manifest_path.parent, getattr(job.input, "checked", None)
    # Imported by name, because which GPU a job gets is no part of its code identity.
    devices = importlib.import_module("wagle.runtime.devices")
    gpus = getattr(job, "resources", {}).get("gpu") or 0
    with _logged(job.log[0] if job.log else None), devices.reserve(gpus):
        started = time.time()
        devices.check_usable(gpus)
        if "code" in params:
            identity.check_code_identity(params["code"])
        be_deterministic()
        inputs = check_inputs([path for path in flat_paths(job.input) if path != gate])
        temporary = {name: part(path) for name, path in outputs.items()}
        for path in temporary.values():
            path.parent.mkdir(parents=True, exist_ok=True)
            remove(path)
        raw = {
            path: digest for path, digest in inputs.items() if Path(path).name != "manifest.json"
        }
        resume = base / "resume.part"
        same_run = hashlib.sha256(identity.canonical([params, inputs]).encode()).hexdigest()
        yield SimpleNamespace(**temporary, resume=resume, identity=same_run)

        listed = {}
        for name, path in temporary.items():
            if not path.exists():
                raise WagleError(
                    f"rule {job.rule} wrote no output {name!r} ({path})", do="report this defect"
                )
            flush(path)
            for file in artifact_files(path):
                final = outputs[name] / file.relative_to(path) if path.is_dir() else outputs[name]
                listed[os.path.relpath(final, base)] = {
                    "sha256": sha256_file(file),
                    "bytes": file.stat().st_size,
                }
        manifest = {
            "format": FORMAT,
            "rule": own_name(job.rule),
            "wildcards": dict(job.wildcards.items()),
            "inputs": {
                os.path.relpath(path, base): digest
                for path, digest in inputs.items()
                if path not in raw
            },
            "raw": dict(zip(short_names(list(raw)), raw.values(), strict=True)),
            "outputs": listed,
            "params": params,
        }
        run = {
            "format": FORMAT,
            "manifest_sha256": sha256_text(json_text(manifest)),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "seconds": round(time.time() - started, 3),
            **_peak_memory(),
            **environment(),
        }
        # What can fail comes before the first output has its name: the job's work would be lost.
        records = {base / "run.json": run | {"sha256": sha256_text(json_text(run))}}
        records[manifest_path] = manifest
        for path, record in records.items():
            write_part(path, record)
        remove(manifest_path)
        for name, path in temporary.items():
            remove(outputs[name])
            os.replace(path, outputs[name])
        for path in records:
            os.replace(part(path), path)
        shutil.rmtree(resume, ignore_errors=True)
