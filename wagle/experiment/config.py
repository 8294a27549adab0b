"""Read an experiment's config and refuse what it must not say.

A config is one YAML file, complete in itself. No defaults are merged in from elsewhere, so what a
run did can be read off one page. docs/config.md lists every key. Errors name the key, where it
stands and what is allowed.

Notable: the models of wagle/experiment/schema.py only check. A config stays the dict that YAML
gave, so that a job's identity depends on what its author wrote. Left out: the keys themselves
(schema.py).
"""

import re
from pathlib import Path

from wagle.errors import WagleError
from wagle.experiment.checks import check_references

MAX_BYTES, MAX_VALUES, MAX_DEPTH = 2**20, 20_000, 50


def load(path: str | Path, data_dir: str | None = None, overrides: dict | None = None) -> dict:
    """The validated config in `path`, with `data_dir` where it names none.

    overrides: keys at the top level that replace the file's, as after snakemake's --config.

    Raises WagleError for anything but a complete, known set of keys.
    """
    import yaml

    path = Path(path)
    if not path.is_file():
        raise WagleError(
            f"no config file at {path}", "an experiment's YAML file, such as config/config.yaml"
        )
    try:
        if path.stat().st_size > MAX_BYTES:
            raise WagleError(f"{path} has {path.stat().st_size} bytes", f"at most {MAX_BYTES}")
        text = path.read_text(encoding="utf-8")
        _check_depth(text, str(path))
        config = yaml.safe_load(text)
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise WagleError(f"{path} is not valid YAML: {str(error)[:500]}") from None
    _check_size(config, str(path))
    if data_dir and isinstance(config, dict) and config.get("data_dir", "") is None:
        config["data_dir"] = data_dir
    if overrides and isinstance(config, dict):
        config |= overrides
    validate(config, str(path))
    return config


def _check_depth(text: str, name: str) -> None:
    """Raise WagleError for brackets nested deeper than any config's.

    The YAML parser's time grows with the square of the depth.
    """
    depth = 0
    for bracket in re.findall(r"[\[{\]}]", text):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise WagleError(
                f"{name} has brackets nested deeper than {MAX_DEPTH}", "one experiment"
            )


def _check_size(config, name: str) -> None:
    """Raise WagleError for more values than any experiment has, such as aliases that never end."""
    pending, count = [config], 0
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            pending += value
        count += 1
        if count + len(pending) > MAX_VALUES:
            raise WagleError(
                f"{name} holds more than {MAX_VALUES} values",
                "one experiment, without aliases that repeat themselves",
            )


def validate(config, name: str = "config") -> None:
    """Raise WagleError unless `config` fits the schema and its names refer to what there is."""
    from wagle.experiment import schema

    schema.check(config, name)
    check_references(config, name)


def training_gpus(config: dict) -> int:
    """GPUs of one fine-tuning or unlearning job, if its stage is one of the gpu_stages."""
    return config["resources"].get("training_gpus", config["resources"]["gpu"])


def about(config: dict) -> dict[str, str]:
    """What a report says of an experiment in one line each."""
    target = config["models"]["target"]
    base = config["models"]["base"] if target["source"] == "finetune" else target
    name = base.get("name") or base.get("path") or base.get("package")
    return {
        "Model": name or "small Llama from scratch",
        "Data": config["data"]["source"] + (f". {config['note']}" if "note" in config else ""),
        "Methods": ", ".join(config["methods"]),
        "Selections": ", ".join(config["selections"]),
        "Seeds": ", ".join(map(str, config["seeds"])),
    }
