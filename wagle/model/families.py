"""Kinds of modules by patterns in parameter names: the groups of Fig. 2 and of its claim."""

import re

# Label by a pattern in the parameter's name, in the order of the figure. The labels are the paper's
# (Fig. 2). It does not spell out in, post and ln; they are read here as the norm before attention,
# the norm after it, and the last norm. emb and head are ours.
MODULES = {
    r"embed_tokens|wte": "emb",
    r"input_layernorm": "in",
    r"q_proj": "sa q",
    r"k_proj": "sa k",
    r"v_proj": "sa v",
    r"o_proj": "sa o",
    r"post_attention_layernorm": "post",
    r"gate_proj": "mlp gt",
    r"up_proj": "mlp up",
    r"down_proj": "mlp dn",
    r"(^|\.)norm\.": "ln",
    r"lm_head": "head",
}


def module_of(parameter: str) -> str:
    """The label of the kind of module that a parameter's name belongs to."""
    return next(
        (label for pattern, label in MODULES.items() if re.search(pattern, parameter)), "other"
    )
