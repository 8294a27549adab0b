"""The official code's habits by name, and what each changes: the values of the config's `official`.

A habit is off unless a config names it. docs/official.md explains each one. Those of the evaluation
are protocols instead (wagle/evaluation/protocols.py), and of one run both can be reported.

Notable: a habit becomes plain options of the library, which knows no habits. Standard library only,
for Snakemake asks on every start.
"""

from collections.abc import Iterable

ALL = "all"
TAG, OFFICIAL_TAG = "[/INST]", "[\\INST]"  # the end of a Llama-2 prompt, and the official code's

ENCODING = {  # options of encode_rows(); prompt-tag changes the template
    "prompt-tag": {},
    "label-span": {"last_prompt_token_in_loss": True},
    "padding": {"text_padding": "in-loss-unattended"},
}
REFUSALS = {  # options of encode_rows() where refusals are the labels
    "refusal-eos": {"refusals_end_with_eos": False},
    "refusal-attention": {"refusals_attended_as_answers": True},
}
TRAINING = {  # fields of TrainingOptions
    "frozen-decay": {"decay_frozen": True},
    "decay-exemptions": {"decay_exempt": True},
    "bf16-weights": {"precision": "bf16"},
    "retain-draws": {"retain_with_replacement": True},
}
GRADIENTS = {  # options of accumulate()
    "gradient-scale": {"scale": 0.25},
    "gradient-bf16": {"in_bf16": True},
}
HABITS = (*ENCODING, *REFUSALS, *TRAINING, *GRADIENTS)

# Habits behind each input of a score; the others leave that input as it is.
ACTING = {
    "forget": frozenset({*ENCODING, *GRADIENTS}),
    "forget-refusal": frozenset({*ENCODING, *REFUSALS, *GRADIENTS}),
    "retain": frozenset({*ENCODING, *GRADIENTS, "retain-draws"}),
    "activations": frozenset({"prompt-tag", "padding"}),  # the loss has no part in them
    # squares and curvatures are taken row by row in fp32, whatever the gradients' own sums are
    "row-forget": frozenset(ENCODING),
    "row-forget-refusal": frozenset({*ENCODING, *REFUSALS}),
    "row-retain": frozenset({*ENCODING, "retain-draws"}),
    "curvature": frozenset({*ENCODING, "retain-draws"}),
}


def habits(names: Iterable[str]) -> frozenset[str]:
    """The habits that an `official` list names."""
    return frozenset(HABITS if ALL in names else names)


def options(table: dict[str, dict], chosen: Iterable[str]) -> dict:
    """The options that the `chosen` habits set, of one of this module's tables."""
    return {key: value for name in chosen for key, value in table.get(name, {}).items()}


def encoding(config: dict, chosen: Iterable[str] = ()) -> dict:
    """Keyword arguments of encode_rows(): the config's own, as the `chosen` habits change them."""
    keys = ("template", "max_length", "text_padding")
    plain = {key: config[key] for key in keys if key in config}
    if "prompt-tag" in chosen:
        plain["template"] = plain["template"].replace(TAG, OFFICIAL_TAG)
    return plain | options(ENCODING | REFUSALS, chosen)
