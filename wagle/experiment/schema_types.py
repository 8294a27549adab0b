"""What the config's models are made of: the base class, the kinds of numbers, texts and lists, and
the two helpers that describe a key.

Notable: types are strict, so the text '1e-5' is no number and `true` no integer; an integer is fine
where a number is wanted. NaN and infinity are refused. Left out: the keys themselves
(schema_inputs.py, schema_training.py, schema_results.py, schema.py).
"""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError, core_schema


class Block(BaseModel):
    """A mapping of the config with exactly these keys."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, defer_build=True, protected_namespaces=()
    )


def key(purpose: str, effect: str = "") -> Any:
    """A required key: what it is for, and what a change of it does."""
    return Field(description=f"{purpose} {effect}".rstrip())


def optional(purpose: str, absent: str, effect: str = "") -> Any:
    """A key that may be left out; `absent` says what then holds. Nothing is filled in."""
    description = f"{purpose} Absent: {absent}. {effect}".rstrip()
    return Field(default_factory=lambda: None, description=description)


def names(pattern: str) -> dict:
    """JSON schema of a mapping whose keys match `pattern`."""
    return {"propertyNames": {"pattern": pattern}}


class Distinct:
    """Marks a list whose items must differ."""

    def __get_pydantic_core_schema__(self, source, handler):
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema, handler):
        return handler(schema) | {"uniqueItems": True}

    @staticmethod
    def _check(items: list) -> list:
        if len(set(items)) < len(items):
            raise PydanticCustomError("value", "hold each value once")
        return items


def _scalar(value: object) -> object:
    infinite = isinstance(value, float) and not math.isfinite(value)
    if infinite or not isinstance(value, (int, float, str)):
        raise PydanticCustomError("value", "be a number, a text, true or false")
    return value


def _method_name(name: str) -> str:
    if name in ("original", "retrained"):
        raise PydanticCustomError("value", "be another name than those of the two baselines")
    return name


NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
MODULE = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$"
ROLE = r"^[a-z_]+$"
HARNESS_TASK = r"^[a-z0-9_]+$"
SPLIT_NAME = r"^[A-Za-z0-9_](\.?[A-Za-z0-9_/-])*\.?$"
REVISION = r"^([0-9a-f]{40}|main)$"
SHA256 = r"^[0-9a-f]{64}$"
PATTERNS = {  # pattern: what it asks for
    NAME: "a name of letters, digits, - and _, the first a letter or digit",
    MODULE: "the dotted name of a Python module",
    ROLE: "a name of lower-case letters and _",
    HARNESS_TASK: "a name of lower-case letters, digits and _",
    SPLIT_NAME: "a path of letters, digits, _, -, / and single dots, not led by - / .",
    REVISION: "a commit of 40 hexadecimal digits, or main",
    SHA256: "64 hexadecimal digits",
}

Name = Annotated[str, Field(pattern=NAME)]
MethodName = Annotated[
    Name,
    AfterValidator(_method_name),
    Field(json_schema_extra={"not": {"enum": ["original", "retrained"]}}),
]
Module = Annotated[str, Field(pattern=MODULE)]
Role = Annotated[str, Field(pattern=ROLE)]
HarnessTask = Annotated[str, Field(pattern=HARNESS_TASK)]
SplitName = Annotated[str, Field(pattern=SPLIT_NAME)]
Revision = Annotated[str, Field(pattern=REVISION)]
Sha256 = Annotated[str, Field(pattern=SHA256)]
Text = Annotated[str, Field(min_length=1)]

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Ratio = Annotated[float, Field(gt=0, le=1)]
Scalar = Annotated[
    Any,
    AfterValidator(_scalar),
    Field(json_schema_extra={"type": ["number", "string", "boolean"]}),
]
Task = Annotated[
    Module,
    Field(
        json_schema_extra={"examples": ["tofu", "wmdp", "whp", "detox", "custom", "my_tasks.law"]}
    ),
]
Options = dict[str, Scalar]

Source = Literal["hub", "files", "synthetic"]
Precision = Literal["fp32", "bf16"]
Policy = Literal["fp32", "bf16", "bf16-stochastic", "bf16-kahan"]
Autocast = Literal["none", "bf16"]
