"""Which template each protocol's log is scored in, and which folder holds that log.

The template belongs to the protocol: one blank between the prompt's end and the answer changes the
tokens at this border, and with them every score. A protocol's template is its own under
`evaluation.templates`, or the experiment's. An experiment's template is that of its target, which
was trained in it, so this is what TOFU's and open-unlearning's protocols take by default.

Each template has one evaluation of every cell. Its folder is `evaluations/` for the experiment's
own template, and `evaluations/template-<id>/` for another one. Standard library only.
"""

import hashlib

PROTOCOLS = (
    "wagle",
    "wagle-code",
    "wagle-attack-text",
    "wagle-ties",
    "tofu",
    "open-unlearning",
)


def of_protocol(config: dict, protocol: str) -> str:
    """The template that `protocol` reads."""
    return config["evaluation"].get("templates", {}).get(protocol, config["template"])


def template_id(template: str) -> str:
    """The name of a template in paths: it depends on the text alone."""
    return f"template-{hashlib.sha256(template.encode('utf-8')).hexdigest()[:8]}"


def folders(config: dict) -> dict[str, str]:
    """Template -> folder of its evaluations, the experiment's own first, in protocol order."""
    templates = [of_protocol(config, name) for name in config["evaluation"]["protocols"]]
    others = [text for text in dict.fromkeys(templates) if text != config["template"]]
    return {config["template"]: "evaluations"} | {
        text: f"evaluations/{template_id(text)}" for text in others
    }


def others(config: dict) -> dict[str, str]:
    """Id -> template of the evaluations besides those in the experiment's own template."""
    return {template_id(text): text for text in list(folders(config))[1:]}
