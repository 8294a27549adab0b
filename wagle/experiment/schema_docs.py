"""The keys of a config for editors (config/schema.json) and for readers (docs/config.md).

    python -m wagle.experiment.schema_docs      writes both; a test keeps them in step

Notable: both come from the models' descriptions, so a key is explained in one place. Left out: what
no single key says, such as which splits a task needs (wagle/experiment/config checks it).
"""

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wagle.experiment.schema import Experiment
from wagle.experiment.schema_errors import resolved
from wagle.experiment.schema_json import json_schema
from wagle.experiment.schema_types import PATTERNS

ROOT = Path(__file__).resolve().parents[2]
SCHEMA, PAGE = ROOT / "config" / "schema.json", ROOT / "docs" / "config.md"
INTRODUCTION = """\
# Configuration

One YAML file describes one experiment. The files in `config/` are examples; `config/config.yaml` is
the default. A file is complete: nothing is merged into it, and nothing is filled in. A key that may
be left out is called optional, and its description says what then holds. An unknown key stops the
run before its first job. The error names the nearest known key.

The last sentence of a description says what runs again after a change. A *cell* is one model that
was made to forget: a method, a selection, a ratio, a gamma and a seed. Snakemake finds by itself
which jobs a change touches. `snakemake -n` lists them.

YAML reads `1e-5` as text. Write `1.0e-5`.

This page and `config/schema.json`, which editors read, are made from `wagle/experiment/schema.py`:
`python -m wagle.experiment.schema_docs`.
"""
HEAD = [
    "| key | type | needed | allowed | what it is for, and what a change does |",
    "|---|---|---|---|---|",
]
TYPES = {
    "array": "list",
    "boolean": "true or false",
    "integer": "integer",
    "null": "null",
    "number": "number",
    "object": "mapping",
    "string": "text",
}
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}


@dataclass(frozen=True)
class Table:
    """The keys of one mapping and of the mappings in it; of a union, one alternative."""

    title: str
    introduction: str
    rows: list[str]

    def __str__(self) -> str:
        rows = "\n".join([*HEAD, *self.rows])
        paragraphs = [self.title, textwrap.fill(self.introduction, 100), rows]
        return "\n\n".join(filter(None, paragraphs))


def config_markdown() -> str:
    """docs/config.md: every key, its type, whether it is needed, what is allowed, what it does."""
    schema = json_schema(Experiment)
    rows, tables = [], []
    for name, node in schema["properties"].items():
        inner = resolved(node, schema)
        rows.append(_row(name, node, name in schema["required"], schema))
        if inner.get("type") == "object":
            tables += _tables(f"## `{name}`", name, inner, schema)
    whole = Table("## The whole file", "Each block has a section of its own below.", rows)
    return "\n\n".join([INTRODUCTION.strip(), *map(str, [whole, *tables])]) + "\n"


def _tables(title: str, path: str, node: dict, schema: dict) -> list[Table]:
    """The table of mapping `node` at `path`, then a table for each alternative of its unions."""
    rows, unions = [], {}
    for name, inside, needed in _keys(path, node, schema):
        rows.append(_row(name, inside, needed, schema))
        inner = resolved(inside, schema)
        if "oneOf" in inner:
            unions.setdefault(json.dumps(inner["oneOf"]), []).append(name)
    tables = [Table(title, " ".join(node.get("description", "").split()), rows)]
    for branches, same in unions.items():
        same = same[-1:] if same[-1].endswith("<name>") else same
        heading = "### " + " and ".join(f"`{name}`" for name in same)
        for branch in (resolved(branch, schema) for branch in json.loads(branches)):
            source = branch.get("properties", {}).get("source", {}).get("const")
            if source:
                tables += _tables(f"{heading} with source `{source}`", same[0], branch, schema)
            elif "properties" in branch:
                tables += _tables(f"{heading}, one entry", same[0], branch, schema)
    return tables


def _keys(path: str, node: dict, schema: dict) -> Iterator[tuple[str, dict, bool]]:
    """(path, schema, whether it is needed) of every key below `path`, alternatives left closed."""
    further = node.get("additionalProperties") or {}
    for name, inside in node.get("properties", {}).items():
        yield f"{path}.{name}", inside, name in node.get("required", [])
        yield from _keys(f"{path}.{name}", resolved(inside, schema), schema)
    if further is not True and ("$ref" in further or "oneOf" in further):
        inner = resolved(further, schema)
        yield f"{path}.<name>", inner | further, False
        yield from _keys(f"{path}.<name>", inner, schema)


def _row(path: str, node: dict, needed: bool, schema: dict) -> str:
    description = " ".join((resolved(node, schema) | node)["description"].split())
    cells = [f"`{path}`", _type(node, schema), "required" if needed else "optional"]
    return (
        "| " + " | ".join([*cells, _allowed(node, schema), description.replace("|", "\\|")]) + " |"
    )


def _type(node: dict, schema: dict) -> str:
    node = resolved(node, schema)
    if "anyOf" in node and "type" not in node:
        return " or ".join(_type(option, schema) for option in node["anyOf"])
    if "oneOf" in node:
        return " or ".join(dict.fromkeys(_type(option, schema) for option in node["oneOf"]))
    kind = node["type"]
    if kind == "array":
        return f"list of {_type(node['items'], schema)}s"
    return TYPES[kind] if isinstance(kind, str) else " or ".join(TYPES[name] for name in kind)


def _allowed(node: dict, schema: dict) -> str:
    """The allowed values of a key in a few words; nothing where its type says all."""
    node = resolved(node, schema)
    if "anyOf" in node and "type" not in node:
        return ", ".join(filter(None, (_allowed(option, schema) for option in node["anyOf"])))
    named = [*node.get("enum", []), *node.get("examples", [])]
    words = [f"`{value}`" for value in [*named, *([node["const"]] if "const" in node else [])]]
    words += [PATTERNS[node["pattern"]]] if "pattern" in node else []
    words += [f"{sign} {node[bound]}" for bound, sign in BOUNDS.items() if bound in node]
    words += ["not empty"] if node.get("minLength") or node.get("minProperties") else []
    if "items" in node:
        items = _allowed(node["items"], schema)
        words.append(f"each {items}" if items and not items.startswith("`") else items)
        fewest, limit = node.get("minItems", 0), node.get("maxItems")
        words += [f"{fewest} items" if limit else f"{fewest} or more items"] if fewest else []
        words += ["no repeats"] if node.get("uniqueItems") else []
        words += [f"with `{node['contains']['const']}`"] if "contains" in node else []
    return ", ".join(filter(None, words))


def write() -> None:
    """Write config/schema.json and docs/config.md."""
    SCHEMA.write_text(json.dumps(json_schema(Experiment), indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(config_markdown(), encoding="utf-8")


if __name__ == "__main__":
    write()
