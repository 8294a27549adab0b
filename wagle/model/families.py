"""Kinds of parameters by patterns in their names: the groups of Fig. 2, of its claim, and of
`wagle inspect`.

Notable: tensors that a family stores as one (queries with keys and values, gate with up, all
experts of a block) are one kind, named as fused. Left out: parameters whose names fit no pattern;
they are "other".
"""

import re
from collections.abc import Iterable
from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of parameters.

    label: short name, for figures. role: long name. pattern: searched in a parameter's name.
    """

    label: str
    role: str
    pattern: str


# In the order of the figure; the first pattern that fits counts. The labels of a Llama are the
# paper's (Fig. 2). It does not spell out in, post and ln; they are read here as the norm before
# attention, the norm after it, and the last norm. The other labels are ours. The experts that all
# tokens pass through (shared experts) count as an ordinary MLP.
KINDS = (
    Kind("emb", "embedding", r"embed_tokens|wte|word_embeddings|embed_in\.|backbone\.embeddings"),
    Kind("pos", "position embedding", r"embed_positions|wpe|project_(in|out)\."),
    Kind(
        "in",
        "norm before attention or mixer",
        r"input_layernorm|self_attn_layer_norm|ln_1\.|ln_attn\.|layers\.\d+\.norm\.",
    ),
    Kind("sa q", "attention query", r"q_proj"),
    Kind("sa k", "attention key", r"k_proj"),
    Kind("sa v", "attention value", r"(?<!qk)v_proj"),
    Kind("sa qkv", "attention query, key and value, fused", r"qkv_proj|query_key_value|c_attn"),
    Kind("sa n", "norm of queries and keys", r"[qk]_(layer)?norm\."),
    Kind(
        "sa o",
        "attention output",
        r"(?<=\.)(o_proj|out_proj)(?<!mixer\.out_proj)|attn\.c_proj|attention\.dense\.",
    ),
    Kind(
        "post",
        "norm after attention",
        r"post_attention_layernorm|ln_2\.|ln_mlp\.|layers\.\d+\.final_layer_norm",
    ),
    Kind("pre ff", "second norm before the MLP", r"pre_feedforward_layernorm"),
    Kind("router", "router of experts", r"(mlp|moe)\.(gate|router)\.|shared_expert_gate"),
    Kind("exp gt+up", "experts' gate and up, fused", r"experts\.gate_up_proj"),
    Kind("exp up", "experts' up", r"experts\.up_proj"),
    Kind("exp dn", "experts' down", r"experts\.down_proj"),
    Kind("mlp gt", "MLP gate", r"gate_proj"),
    Kind("mlp gt+up", "MLP gate and up, fused", r"gate_up_proj"),
    Kind("mlp up", "MLP up", r"up_proj|dense_h_to_4h|c_fc|\.fc1\."),
    Kind("mlp dn", "MLP down", r"down_proj|dense_4h_to_h|mlp\.c_proj|\.fc2\."),
    Kind("post ff", "norm after the MLP", r"post_feedforward_layernorm"),
    Kind("ssm in", "state-space input", r"mixer\.in_proj"),
    Kind("ssm", "state-space", r"mixer\.(x_proj|dt_proj|A_log|D\b|conv1d|norm|dt_bias)"),
    Kind("ssm out", "state-space output", r"mixer\.out_proj"),
    Kind("ln", "last norm", r"(^|\.)norm\.|ln_f\.|norm_f\.|final_layer_?norm"),
    Kind("head", "output head", r"lm_head|embed_out"),
)
OTHER = Kind("other", "other", "")
LABELS = tuple(kind.label for kind in (*KINDS, OTHER))


def kind_of(parameter: str) -> Kind:
    """The kind of a parameter, by its name."""
    return next((kind for kind in KINDS if re.search(kind.pattern, parameter)), OTHER)


def module_of(parameter: str) -> str:
    """The label of the kind of a parameter, by its name."""
    return kind_of(parameter).label


def default_lora_targets(parameters: Iterable[str]) -> list[str]:
    """Names of the modules that get LoRA's adapters where none are named, none for a model that
    has no such modules.

    They are the query and value projections, as in LoRA's paper (Hu et al. 2021, arXiv 2106.09685,
    section 4.2) and in peft's own table, fused ones whole. A state-space model gets them on its
    inputs.
    """
    modules: dict[str, set[str]] = {}
    for name in parameters:
        if name.endswith(".weight"):
            module = name.removesuffix(".weight").rpartition(".")[2]
            modules.setdefault(module_of(name), set()).add(module)
    for labels in (("sa q", "sa v", "sa qkv"), ("ssm in",)):
        targets = set().union(*(modules.get(label, set()) for label in labels))
        if targets:
            return sorted(targets)
    return []
