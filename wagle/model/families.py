"""Kinds of modules, by patterns in parameter names: the groups of Fig. 2 and of the claim about it."""

import re

# Pattern in a parameter's name -> label, in order of drawing. The labels are the paper's (Fig. 2), which does not spell out in,
# post and ln: read here as the norm before attention, the norm after it, and the last norm. emb and head are ours.
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
    """The kind of module that a parameter's name belongs to, in the labels of Fig. 2."""
    return next(
        (text for pattern, text in MODULES.items() if re.search(pattern, parameter)), "other"
    )
