"""Plain sentences about what a config says wrong: key, place, what is there, what is allowed.

Notable: pydantic says where an error is, and the JSON schema which keys and values are allowed
there. Of a union only the alternative that was meant is spoken of. Left out: a sentence for each of
pydantic's error types; those that no key of ours can give keep pydantic's own words.
"""

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import ValidationError

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
    keys, here, around = [], schema, {}
    for part in location:
        if "oneOf" in here:
            here = _branch(here, part, schema)
            continue
        if part == "[key]":
            break
        keys.append(part)
        around = here
        other = here.get("items" if isinstance(part, int) else "additionalProperties") or {}
        here = resolved(here.get("properties", {}).get(part) or other, schema)
    return Place(tuple(keys), here, around)


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
    for each in error.errors(include_url=False):
        if each["type"] in ("extra_forbidden", "invalid_key"):
            unknown.setdefault(each["loc"][:-1], []).append(each["loc"])
        else:
            others.append(each)
    result = [_unknown(locations, schema) for locations in list(unknown.values())[:LIMIT]]
    result += [_sentence(each, schema) for each in others[: LIMIT - len(result)]]
    left_out = len(unknown) + len(others) - LIMIT
    return result + ([f"and {left_out} more errors"] if left_out > 0 else [])


def near(name: object, known: Iterable[str]) -> str:
    """A hint at the known name that is nearest to `name`; nothing where none is near."""
    if not isinstance(name, str) or len(name) > 100:
        return ""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _unknown(locations: list[tuple], schema: dict) -> str:
    parent, known = place(locations[0][:-1], schema), place(locations[0], schema).known
    names = [location[-1] for location in locations[:LIMIT]]
    text = ", ".join(f"unknown key {_shown(n)} at {parent}{near(n, known)}" for n in names)
    left_out = len(locations) - LIMIT
    text += f" and {left_out} more" if left_out > 0 else ""
    return f"{text}; allowed: {', '.join(known)}"


def _sentence(error: dict, schema: dict) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    here, around = place(error["loc"], schema), place(error["loc"][:-1], schema)
    match kind:
        case "missing":
            user_named = around.keys and around.known and around.keys[-1] not in around.known
            hint = near(around.keys[-1], around.known) if user_named else ""
            return f"{here.keys[-1]!r} is a required property at {around}{hint}"
        case "required":
            return f"{error['msg']} at {here}"
        case "literal_error":
            allowed = ", ".join(map(repr, here.values))
            return f"{here} is {_shown(value)}; allowed: {allowed}{near(value, here.values)}"
        case "union_tag_invalid":
            hint = near(value["source"], here.sources)
            return f"{here} has source {_shown(value['source'])}; {_one_of(here.sources)}{hint}"
        case "union_tag_not_found":
            return f"{here} is {_shown(value)}; {_one_of(here.sources)}"
        case "string_pattern_mismatch":
            examples = ", ".join(here.schema.get("examples", []))
            must = f"be {PATTERNS[context['pattern']]}{', such as ' * bool(examples)}{examples}"
        case "value":
            must = error["msg"]
        case _ if kind in KINDS:
            nullable = {"type": "null"} in here.schema.get("anyOf", [])
            must = f"be {KINDS[kind]}{' or null' * nullable}"
        case _ if kind in BOUNDS:
            must = BOUNDS[kind].format(**context)
        case _:
            return f"{here}: {error['msg']}"
    if kind in ("float_type", "int_type") and isinstance(value, str):
        return f"{here} is the text {_shown(value)}, but must {must}{_as_number(value)}"
    is_name = kind == "string_pattern_mismatch" and "pattern" not in here.schema
    if is_name or error["loc"][-1:] == ("[key]",):
        return f"the name {_shown(value)} at {'.'.join(map(str, here.keys[:-1]))} must {must}"
    return f"{here} is {_shown(value)}, but must {must}"


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
