"""Sentences about the errors of a config: key, place, the value that is there, what is allowed.

Notable: pydantic says where an error is, and the JSON schema which keys and values are allowed
there. Of a union only the alternative that was meant is spoken of. Left out: a sentence for each of
pydantic's error types; those that no key of ours can give keep pydantic's own words.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import ValidationError

from wagle.errors import did_you_mean
from wagle.experiment.schema_types import PATTERNS

LIMIT = 5
KINDS = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_attributes_type": "a mapping",
    "model_type": "a mapping",
    "string_type": "a text",
}
BOUNDS = {
    "greater_than": "be greater than {gt}",
    "greater_than_equal": "be at least {ge}",
    "less_than_equal": "be at most {le}",
    "string_too_short": "not be empty",
    "too_long": "hold at most {max_length} items",
    "too_short": "hold {min_length} or more items",
}


@dataclass(frozen=True)
class Place:
    """A place in a config: its keys, the schema there, and the schema of the mapping around it."""

    keys: tuple
    schema: dict
    around: dict

    def __str__(self) -> str:
        return ".".join(map(str, self.keys)) or "the top level"

    @property
    def values(self) -> list:
        """The allowed values, where there is a list of them."""
        options = [self.schema, *self.schema.get("anyOf", [])]
        return [v for o in options for v in o.get("enum", [o["const"]] if "const" in o else [])]

    @property
    def sources(self) -> list[str]:
        """The sources of a union."""
        return list(self.schema["discriminator"]["mapping"])

    @property
    def known(self) -> list[str]:
        """The keys of the mapping around this place."""
        return sorted(self.around.get("properties", {}))


def place(location: tuple, schema: dict) -> Place:
    """The place of an error; `location` is pydantic's, in which unions add the branch's tag."""
    keys, node, around = [], schema, {}
    for step in location:
        if "oneOf" in node:
            node = _branch(node, step, schema)
            continue
        if step == "[key]":
            break
        keys.append(step)
        around = node
        further = node.get("items" if isinstance(step, int) else "additionalProperties") or {}
        node = resolved(node.get("properties", {}).get(step) or further, schema)
    return Place(tuple(keys), node, around)


def _branch(union: dict, tag: str, schema: dict) -> dict:
    branches = [resolved(branch, schema) for branch in union["oneOf"]]
    if "discriminator" in union:
        return next(b for b in branches if b["properties"]["source"]["const"] == tag)
    return next(b for b in branches if b["type"] == tag)


def resolved(node: dict | bool, schema: dict) -> dict:
    """The schema that `node` refers to; `node` itself where it is no reference."""
    while isinstance(node, dict) and "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return node if isinstance(node, dict) else {}


def sentences(error: ValidationError, schema: dict) -> list[str]:
    """At most five sentences, unknown keys first, those of one mapping in one sentence."""
    unknown, others = {}, []
    for entry in error.errors(include_url=False):
        if entry["type"] in ("extra_forbidden", "invalid_key"):
            unknown.setdefault(entry["loc"][:-1], []).append(entry["loc"])
        else:
            others.append(entry)
    result = [_unknown(locations, schema) for locations in list(unknown.values())[:LIMIT]]
    result += [_sentence(entry, schema) for entry in others[: LIMIT - len(result)]]
    left_out = len(unknown) + len(others) - LIMIT
    return result + ([f"and {left_out} more errors"] if left_out > 0 else [])


def near(name: object, known: Iterable[str]) -> str:
    """A hint at the known name that is nearest to `name`; nothing where none is near."""
    if not isinstance(name, str) or len(name) > 100:
        return ""
    return did_you_mean(name, known)


def _unknown(locations: list[tuple], schema: dict) -> str:
    parent, known = place(locations[0][:-1], schema), place(locations[0], schema).known
    names = [location[-1] for location in locations[:LIMIT]]
    listing = ", ".join(f"unknown key {_shown(n)} at {parent}{near(n, known)}" for n in names)
    left_out = len(locations) - LIMIT
    listing += f" and {left_out} more" if left_out > 0 else ""
    return f"{listing}; allowed: {', '.join(known)}"


def _sentence(error: dict, schema: dict) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    location, around = place(error["loc"], schema), place(error["loc"][:-1], schema)
    match kind:
        case "missing":
            user_named = around.keys and around.known and around.keys[-1] not in around.known
            hint = near(around.keys[-1], around.known) if user_named else ""
            return f"{location.keys[-1]!r} is a required property at {around}{hint}"
        case "required":
            return f"{error['msg']} at {location}"
        case "literal_error":
            allowed = ", ".join(map(repr, location.values))
            hint = near(value, location.values)
            return f"{location} is {_shown(value)}; allowed: {allowed}{hint}"
        case "union_tag_invalid":
            hint = near(value["source"], location.sources)
            expected = _one_of(location.sources)
            return f"{location} has source {_shown(value['source'])}; {expected}{hint}"
        case "union_tag_not_found":
            return f"{location} is {_shown(value)}; {_one_of(location.sources)}"
        case "string_pattern_mismatch":
            examples = ", ".join(location.schema.get("examples", []))
            must = f"be {PATTERNS[context['pattern']]}{', such as ' * bool(examples)}{examples}"
        case "value":
            must = error["msg"]
        case _ if kind in KINDS:
            nullable = {"type": "null"} in location.schema.get("anyOf", [])
            must = f"be {KINDS[kind]}{' or null' * nullable}"
        case _ if kind in BOUNDS:
            must = BOUNDS[kind].format(**context)
        case _:
            return f"{location}: {error['msg']}"
    if kind in ("float_type", "int_type") and isinstance(value, str):
        return f"{location} is the text {_shown(value)}, but must {must}{_as_number(value)}"
    is_name = kind == "string_pattern_mismatch" and "pattern" not in location.schema
    if is_name or error["loc"][-1:] == ("[key]",):
        return f"the name {_shown(value)} at {'.'.join(map(str, location.keys[:-1]))} must {must}"
    return f"{location} is {_shown(value)}, but must {must}"


def _one_of(sources: list[str]) -> str:
    return f"its source must be one of {', '.join(map(repr, sources))}"


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a huge number"
    return text if len(text) <= 100 else f"{text[:97]}..."


def _as_number(text: str) -> str:
    try:
        if not math.isfinite(float(text)):
            return ""
    except ValueError:
        return ""
    mantissa, letter, exponent = text.strip().lower().partition("e")
    if not letter:
        return " (write it without quotes)"
    mantissa += "" if "." in mantissa else ".0"
    exponent = exponent if exponent[0] in "+-" else f"+{exponent}"
    return f" (YAML reads {text} as text; write {mantissa}e{exponent})"
