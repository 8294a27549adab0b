"""Read an experiment's config and refuse what it must not say.

A config is one YAML file, complete in itself: there are no defaults merged in from elsewhere, so what a run did can be
read off one page. `config/schema.json` lists every key. Errors name the key, where it stands and what is allowed.
"""

import difflib
import json
from pathlib import Path

from wagle import identity
from wagle.cells import WITHOUT_SCORE
from wagle.errors import WagleError
from wagle.prompts import check_template

SCHEMA = identity.ROOT / "config" / "schema.json"


def load(path: str | Path) -> dict:
    """The validated config in `path`. Raises WagleError for anything but a complete, known set of keys."""
    import yaml

    path = Path(path)
    if not path.is_file():
        raise WagleError(f"no config file at {path}", "an experiment's YAML file, such as config/config.yaml")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise WagleError(f"{path} is not valid YAML: {error}") from None
    validate(config, str(path))
    return config


def validate(config, name: str = "config") -> None:
    """Raise WagleError unless `config` fits the schema and its names hang together."""
    import jsonschema

    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(config), key=lambda e: list(map(str, e.path)))
    if errors:
        raise WagleError("; ".join(f"{name}: {_explain(error)}" for error in errors[:5]), do="see config/schema.json")
    _check_names(config, name)


def _explain(error) -> str:
    where = ".".join(map(str, error.absolute_path)) or "the top level"
    if error.validator == "additionalProperties":
        allowed = sorted(error.schema.get("properties", {}))
        unknown = [key for key in error.instance if key not in allowed]
        text = []
        for key in unknown:
            near = difflib.get_close_matches(str(key), allowed, n=1)
            text.append(f"unknown key {key!r} at {where}" + (f" (did you mean {near[0]!r}?)" if near else ""))
        return f"{', '.join(text)}; allowed: {', '.join(allowed)}"
    if error.validator == "required":
        return f"{error.message} at {where}"
    if error.validator == "enum":
        return f"{where} is {error.instance!r}; allowed: {', '.join(map(repr, error.validator_value))}"
    if error.validator in ("oneOf", "anyOf"):
        kinds = [s.get("properties", {}).get("source", {}).get("const") for s in error.validator_value]
        kind = error.instance.get("source") if isinstance(error.instance, dict) else None
        if kind in kinds:
            return "; ".join(_explain(e) for e in error.context if e.schema_path[0] == kinds.index(kind))
        return f"{where} is {error.instance!r}; its source must be one of {', '.join(map(repr, filter(None, kinds)))}"
    if error.validator == "type" and isinstance(error.instance, str) and "number" in str(error.validator_value):
        hint = " (YAML reads 1e-5 as text; write 1.0e-5)" if "e" in error.instance.lower() else ""
        return f"{where} is the text {error.instance!r}, but must be a number{hint}"
    return f"{where}: {error.message}"


def score_module(name: str, options: dict) -> str:
    return options.get("module", f"wagle.scores.{name}")


def objective_module(name: str, options: dict) -> str:
    return options.get("module", f"wagle.objectives.{name}")


def _check_names(config: dict, name: str) -> None:
    """What a schema cannot say: template, modules and their options fit, figures refer to what the experiment has."""
    check_template(config["template"])
    for selection, options in config["selections"].items():
        if selection in WITHOUT_SCORE:
            continue
        known = {"gamma", *identity.keyword_options(score_module(selection, options), "score")}
        _known_options(f"{name}: selections.{selection}.options", options.get("options", {}), known)
        if "gamma" in identity.keyword_options(score_module(selection, options), "score") and "gamma" not in options:
            raise WagleError(f"{name}: selections.{selection} has no gamma", "a number, such as 1.0e-6 (paper, TOFU)")
    for method, options in config["methods"].items():
        known = identity.keyword_options(objective_module(method, options), "loss")
        _known_options(f"{name}: methods.{method}.options", options.get("options", {}), known)
    figures = config["figures"]
    for figure, block in figures.items():
        for key, group in (("method", "methods"), ("selection", "selections")):
            if key in block and block[key] not in config[group]:
                _unknown(f"{name}: figures.{figure}.{key}", block[key], config[group])
        for selection in block.get("selections", []):
            if selection not in config["selections"]:
                _unknown(f"{name}: figures.{figure}.selections", selection, config["selections"])
    if config["data"]["source"] == "files" and not config["data_dir"]:
        raise WagleError(
            f"{name}: data.source is 'files', but data_dir is not set",
            "a folder with the .jsonl or .jsonl.gz files",
            "add --config data_dir=/path/to/data",
        )


def _known_options(where: str, options: dict, known) -> None:
    for key in options:
        if key not in known:
            _unknown(where, key, known)


def _unknown(where: str, found: str, known) -> None:
    near = difflib.get_close_matches(found, list(known), n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise WagleError(f"{where}: unknown name {found!r}{hint}", f"one of {', '.join(sorted(known)) or 'none'}")


def split_identity(config: dict, role: str) -> dict:
    """What the rows of `role` depend on: its own entry, and of the data block only what its source reads."""
    data, spec = config["data"], config["data"]["splits"][role]
    source = spec.get("source", data["source"])
    keys = {"hub": ("dataset", "revision"), "synthetic": ("synthetic",), "files": ()}[source]
    return {"role": role, "spec": spec, "source": source} | {key: data.get(key) for key in keys}


def split_modules(config: dict, role: str) -> list[str]:
    source = config["data"]["splits"][role].get("source", config["data"]["source"])
    return ["wagle.synthetic"] if source == "synthetic" else []


def split_inputs(config: dict, role: str) -> list[str]:
    """The file behind `role` where its source is a folder of files, so that Snakemake sees a changed row."""
    spec = config["data"]["splits"][role]
    if spec.get("source", config["data"]["source"]) != "files":
        return []
    name = spec.get("name", role)
    folder = Path(config["data_dir"])
    found = [folder / f"{name}{suffix}" for suffix in (".jsonl.gz", ".jsonl") if (folder / f"{name}{suffix}").is_file()]
    return [str(found[0] if found else folder / f"{name}.jsonl.gz")]


def about(config: dict) -> dict[str, str]:
    """What a report says of an experiment in one line each."""
    base = config["models"]["base"]
    return {
        "Model": base.get("name") or base.get("path") or base.get("package") or "small Llama from scratch",
        "Data": config["data"]["source"],
        "Methods": ", ".join(config["methods"]),
        "Selections": ", ".join(config["selections"]),
        "Seeds": ", ".join(map(str, config["seeds"])),
    }
