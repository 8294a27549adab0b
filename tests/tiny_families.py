"""A tiny random model of each family that the pipeline is tested with.

Each has two blocks of width 32 and every kind of parameter of its family. README.md has a table of
them, whose rows test_families.py makes.
"""

from typing import NamedTuple

import torch
import transformers

from wagle.model import families


class Family(NamedTuple):
    """name: as people say it. config: class of transformers. options: of the config."""

    name: str
    config: str
    options: dict


BLOCKS = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}
GROUPED = BLOCKS | {"num_key_value_heads": 2}
SHORT = {"sliding_window": 64}
FAMILIES = (
    Family("Llama", "LlamaConfig", GROUPED),
    Family("Mistral", "MistralConfig", GROUPED | SHORT),
    Family("Qwen2", "Qwen2Config", GROUPED),
    Family("Qwen3", "Qwen3Config", GROUPED | {"head_dim": 8}),
    Family(
        "Gemma-2",
        "Gemma2Config",
        GROUPED | SHORT | {"head_dim": 8, "query_pre_attn_scalar": 8},
    ),
    Family(
        "Gemma-3",
        "Gemma3TextConfig",
        GROUPED | SHORT | {"head_dim": 8, "query_pre_attn_scalar": 8},
    ),
    Family("Phi-3", "Phi3Config", GROUPED | SHORT),
    Family("StableLM", "StableLmConfig", GROUPED),
    Family(
        "Falcon",
        "FalconConfig",
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "multi_query": True,
        },
    ),
    Family(
        "GPT-2",
        "GPT2Config",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    ),
    Family("GPT-NeoX", "GPTNeoXConfig", BLOCKS),
    Family(
        "OPT",
        "OPTConfig",
        {
            "hidden_size": 32,
            "ffn_dim": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 256,
            "word_embed_proj_dim": 32,
        },
    ),
    Family(
        "Mixtral",
        "MixtralConfig",
        GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    ),
    Family(
        "Qwen2-MoE",
        "Qwen2MoeConfig",
        GROUPED
        | {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 40,
        },
    ),
    Family("OLMo-2", "Olmo2Config", GROUPED),
    Family("SmolLM3", "SmolLM3Config", GROUPED | {"no_rope_layers": [1, 0]}),
    Family(
        "Mamba",
        "MambaConfig",
        {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "expand": 2},
    ),
)


def config_of(family: Family, tokenizer, **more):
    """The family's config, with the vocabulary and special tokens of `tokenizer`."""
    special = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return getattr(transformers, family.config)(**family.options | special | more)


def build(family: Family, tokenizer, **more):
    """A random model of the family in fp32 and evaluation mode; the same each time."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config_of(family, tokenizer, **more))
    return model.eval()


TABLE = (
    "| family | class in transformers | fused weights | weights that Wanda leaves out "
    "| modules of LoRA by default |",
    "|---|---|---|---|---|",
)


def table_row(family: Family, model, uncovered: list[str]) -> str:
    """The family's row in README.md. `uncovered`: weights that had no input norms."""
    names = [name for name, _ in model.named_parameters()]
    kinds = {families.kind_of(name) for name in names}
    fused = sorted(kind.label for kind in kinds if "fused" in kind.role)
    left_out = sorted({name.rpartition("mixer.")[2].removesuffix(".weight") for name in uncovered})
    cells = (
        family.name,
        f"`{type(model).__name__}`",
        ", ".join(fused),
        ", ".join(f"`{name}`" for name in left_out),
        ", ".join(f"`{name}`" for name in families.default_lora_targets(names)),
    )
    return "| " + " | ".join(cells) + " |"
