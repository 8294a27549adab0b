"""Is a folder a model that this project can load? Known before anything heavy is imported.

Looked at are the config, the format of the weights, their completeness, the tokenizer and the chat
template.

Notable: standard library only, because Snakemake asks on every start. Left out: the names of the
modules (model_modules.py), and whether transformers knows the architecture; loading tells.
"""

import json
import os
from pathlib import Path

from wagle.errors import WagleError, did_you_mean

CONVERT = """\
python -c "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; \
M.from_pretrained('{path}').save_pretrained('{path}-safetensors'); \
T.from_pretrained('{path}').save_pretrained('{path}-safetensors')", \
and name {path}-safetensors here"""
INDEX, WEIGHTS = "model.safetensors.index.json", "model.safetensors"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "vocab.txt")


def check_folder(path: str, where: str) -> None:
    """Raise WagleError unless `path` has a config, complete safetensors weights and a tokenizer.

    where: the key of the config that names it, for messages.
    """
    folder = check_exists(path, where, "a Hugging Face model folder")
    _read_json(folder / "config.json", where, folder)
    if (folder / INDEX).is_file():
        weight_map = _read_json(folder / INDEX, where, folder).get("weight_map", {})
        shards = sorted(set(weight_map.values()))
        missing = [name for name in shards if not (folder / name).is_file()]
        if missing or not shards:
            raise WagleError(
                f"{where}: {path} lacks {', '.join(missing[:3]) or 'shards'}",
                f"all {len(shards)} files that its {INDEX} names",
                "download the model again",
            )
    elif not (folder / WEIGHTS).is_file():
        _raise_no_weights(folder, where)
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise WagleError(
            f"{where}: {path} has no tokenizer",
            "tokenizer.json and tokenizer_config.json",
            "copy them from the model that this one was made from",
        )


def check_exists(path: str, where: str, expected: str) -> Path:
    """The folder. Raises WagleError where there is none, naming the nearest one beside it."""
    folder = Path(path)
    if folder.is_dir():
        return folder
    beside = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else []
    prefix = "" if str(folder.parent) == "." else f"{folder.parent}{os.sep}"
    hint = did_you_mean(folder.name, beside, prefix)
    what = "is a file" if folder.is_file() else "does not exist"
    raise WagleError(f"{where}: {path!r} {what}{hint}", expected, "check the path")


def _raise_no_weights(folder: Path, where: str) -> None:
    names = sorted(path.name for path in folder.iterdir())
    shown = ", ".join(names[:8]) or "nothing"
    if any(name.startswith("pytorch_model") for name in names):
        raise WagleError(
            f"{where}: {folder} has its weights as pickles (pytorch_model.bin) only",
            f"{WEIGHTS}: loading a pickle can run a stranger's code, so none is read",
            f"if you trust its author, convert it once: {CONVERT.format(path=folder)}",
        )
    if "adapter_config.json" in names:
        raise WagleError(
            f"{where}: {folder} holds adapters, no whole model",
            f"{WEIGHTS}",
            "merge them into their base model with peft's merge_and_unload() and save that",
        )
    raise WagleError(
        f"{where}: {folder} has no weights; it has {shown}", f"{WEIGHTS}, or shards and {INDEX}"
    )


def _read_json(path: Path, where: str, folder: Path) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict):
            return value
        reason = "it is no JSON object"
    except (OSError, ValueError) as error:
        reason = str(error)
    raise WagleError(
        f"{where}: {folder} has no readable {path.name}: {reason}",
        "a Hugging Face model folder with config.json",
    )


def has_chat_template(path: str) -> bool:
    """Does the tokenizer in this folder have a chat template?"""
    folder = Path(path)
    if any((folder / name).exists() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(isinstance(settings, dict) and settings.get("chat_template"))
