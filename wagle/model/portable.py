"""A checkpoint that other releases of transformers load as the same model.

transformers 5 writes keys that earlier releases do not know, and those ignore what they do not
know. A folder of release 5 loads in 4.45 without a message, but with another base of its rotary
embeddings: a loss of 2.000 nats was seen in place of 1.787. Its tokenizer does not load at all. So
what is given to others carries both forms:

    rope_parameters          rope_theta, rope_scaling, and the families' own older names
    dtype                    torch_dtype
    TokenizersBackend        PreTrainedTokenizerFast, which is the same in every release
    chat_template.jinja      chat_template in tokenizer_config.json

Weights get the names of the family's published files, where those differ (docs/families.md).

config.json names the least release that loads the folder as this model, as LEAST.

Notable: the pipeline's own checkpoints stay as transformers writes them; only copies for others
are changed. Left out: a model that came to transformers after 4.45 cannot load in an older release
than that, and an unknown one names the release that wrote it.
"""

import json
import tempfile
from pathlib import Path

from wagle.errors import WagleError
from wagle.model.checkpoints import save_weights
from wagle.runtime.files import write_json

LEAST = "least_transformers_version"
OLDEST = "4.45"  # the oldest release that is tested
# Model type: the first release whose wheel has its module. OLDEST stands for it and all before it.
SINCE = {
    **dict.fromkeys(
        "falcon gemma gemma2 gpt2 gpt_neox gptj llama mamba mistral mixtral opt phi phi3 qwen2"
        " qwen2_moe stablelm".split(),
        OLDEST,
    ),
    "olmo2": "4.47",
    "gemma3_text": "4.50",
    "qwen3": "4.51",
    "smollm3": "4.53",
}
# Older names of rope_theta and partial_rotary_factor, where they are not the same.
OWN_NAMES = {"gpt_neox": {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}}


def both_forms(config: dict) -> dict:
    """`config` (of config.json) with the older keys beside the new ones, and LEAST."""
    result = dict(config)
    if "dtype" in config:
        result["torch_dtype"] = config["dtype"]
    result |= _older_rope(config.get("model_type"), config.get("rope_parameters") or {})
    least = SINCE.get(config.get("model_type"), config.get("transformers_version", "5"))
    return result | {LEAST: least}


def _older_rope(model_type: str | None, rope: dict) -> dict:
    """The rotary embeddings in the keys that releases before 5 read."""
    if "full_attention" in rope:  # one set for each kind of layer, as in Gemma 3
        local = rope.get("sliding_attention", {})
        older = _older_rope(model_type, rope["full_attention"])
        return older | {"rope_local_base_freq": local.get("rope_theta")}
    if not rope:
        return {}
    names = OWN_NAMES.get(model_type, {})
    older = {
        names.get(key, key): rope[key]
        for key in ("rope_theta", "partial_rotary_factor")
        if key in rope
    }
    scaling = {key: value for key, value in rope.items() if names.get(key, key) not in older}
    scaled = scaling.get("rope_type", "default") != "default"
    return older | {"rope_scaling": scaling if scaled else None}


def make_portable(folder: str | Path) -> str:
    """Give the model in `folder` both forms of its keys; returns the least release that loads it.

    Raises WagleError when its config.json or tokenizer_config.json cannot be read.
    """
    folder = Path(folder)
    config = both_forms(_read(folder / "config.json"))
    if any(folder.glob("*.safetensors")) and _has_other_names(config):
        _write_published_names(folder)
    write_json(folder / "config.json", config)
    tokenizer = _read(folder / "tokenizer_config.json")
    if tokenizer.get("tokenizer_class") in (None, "TokenizersBackend"):
        tokenizer["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(tokenizer.get("extra_special_tokens"), list):  # a mapping before release 5
        tokenizer["additional_special_tokens"] = tokenizer.pop("extra_special_tokens")
    template = folder / "chat_template.jinja"
    if template.is_file():
        tokenizer["chat_template"] = template.read_text(encoding="utf-8")
    write_json(folder / "tokenizer_config.json", tokenizer)
    return config[LEAST]


def _has_other_names(config: dict) -> bool:
    """Whether the family's published files name weights otherwise than transformers 5 does."""
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    # transformers keeps its renamings by model type, and some by class
    keys = [config.get("model_type"), *(config.get("architectures") or [])]
    return any(get_checkpoint_conversion_mapping(key) for key in keys)


def _write_published_names(folder: Path) -> None:
    """Name the weights in `folder` as the family's published files do.

    Earlier releases would leave weights under other names at random values.
    """
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", use_safetensors=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        save_weights(model, scratch, original_format=True)
        del model
        for path in folder.glob("*.safetensors*"):
            path.unlink()
        for path in Path(scratch).glob("*.safetensors*"):
            path.chmod(0o644)
            path.rename(folder / path.name)


def _read(path: Path) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict):
            return value
    except (OSError, ValueError) as error:
        raise WagleError(f"{path} cannot be read: {error}", "a Hugging Face folder") from None
    raise WagleError(f"{path} holds {type(value).__name__}", "a JSON object")
