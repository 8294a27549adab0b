"""Read an experiment's config and refuse what it must not say.

A config is one YAML file, complete in itself: there are no defaults merged in from elsewhere, so what a run did can be
read off one page. `wagle/assets/schema.json` lists every key. Errors name the key, where it stands and what is allowed.
"""

import difflib
import json
import re
from pathlib import Path

from wagle.data.prompts import check_template
from wagle.errors import WagleError
from wagle.experiment.cells import WITHOUT_SCORE
from wagle.experiment.splits import parts
from wagle.runtime import assets, identity

MAX_BYTES, MAX_VALUES, MAX_DEPTH = 2**20, 20_000, 50


def load(path: str | Path, data_dir: str | None = None) -> dict:
    """The validated config in `path`, with `data_dir` where it names none. Raises WagleError for anything but a complete,
    known set of keys.
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
    validate(config, str(path))
    return config


def _check_depth(text: str, name: str) -> None:
    """Raise WagleError for brackets nested deeper than any config's: the parser's time grows with the square of the depth."""
    depth = 0
    for bracket in re.findall(r"[\[{\]}]", text):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise WagleError(
                f"{name} has brackets nested deeper than {MAX_DEPTH}", "one experiment"
            )


def _check_size(config, name: str) -> None:
    """Raise WagleError for a config whose YAML aliases make it endless, or larger than any experiment's."""
    pending, seen = [config], 0
    while pending:
        here = pending.pop()
        pending += (
            [*here.keys(), *here.values()]
            if isinstance(here, dict)
            else here
            if isinstance(here, list)
            else []
        )
        seen += 1
        if seen + len(pending) > MAX_VALUES:
            raise WagleError(
                f"{name} holds more than {MAX_VALUES} values",
                "one experiment, without aliases that repeat themselves",
            )


def validate(config, name: str = "config") -> None:
    """Raise WagleError unless `config` fits the schema and its names hang together."""
    import jsonschema

    schema = json.loads(assets.text("schema.json"))
    errors = sorted(
        jsonschema.Draft202012Validator(schema).iter_errors(config),
        key=lambda e: list(map(str, e.path)),
    )
    if errors:
        raise WagleError(
            "; ".join(f"{name}: {_explain(error)}" for error in errors[:5]),
            do="see wagle/assets/schema.json",
        )
    _check_names(config, name)


def _explain(error) -> str:
    where = ".".join(map(str, error.absolute_path)) or "the top level"
    if error.validator == "additionalProperties":
        allowed = sorted(error.schema.get("properties", {}))
        unknown = [key for key in error.instance if key not in allowed]
        text = []
        for key in unknown:
            near = difflib.get_close_matches(str(key), allowed, n=1)
            text.append(
                f"unknown key {key!r} at {where}"
                + (f" (did you mean {near[0]!r}?)" if near else "")
            )
        return f"{', '.join(text)}; allowed: {', '.join(allowed)}"
    if error.validator == "required":
        return f"{error.message} at {where}"
    if error.validator == "enum":
        return (
            f"{where} is {error.instance!r}; allowed: {', '.join(map(repr, error.validator_value))}"
        )
    if error.validator in ("oneOf", "anyOf"):
        kinds = [
            s.get("properties", {}).get("source", {}).get("const") for s in error.validator_value
        ]
        kind = error.instance.get("source") if isinstance(error.instance, dict) else None
        if not any(kinds):  # alternatives of another type each: report on the one that was meant
            meant = int(isinstance(error.instance, list))
            return "; ".join(_explain(e) for e in error.context if e.schema_path[0] == meant)
        if kind in kinds:
            return "; ".join(
                _explain(e) for e in error.context if e.schema_path[0] == kinds.index(kind)
            )
        return f"{where} is {error.instance!r}; its source must be one of {', '.join(map(repr, filter(None, kinds)))}"
    if (
        error.validator == "type"
        and isinstance(error.instance, str)
        and "number" in str(error.validator_value)
    ):
        hint = " (YAML reads 1e-5 as text; write 1.0e-5)" if "e" in error.instance.lower() else ""
        return f"{where} is the text {error.instance!r}, but must be a number{hint}"
    return f"{where}: {error.message}"


def score_module(name: str, options: dict) -> str:
    return options.get("module", f"wagle.scores.{name}")


def objective_module(name: str, options: dict) -> str:
    return options.get("module", f"wagle.objectives.{name}")


REQUIRED = {  # splits of each task besides forget and retain; what it evaluates; the keys of its evaluation block
    "tofu": (
        ("forget_perturbed", "retain_perturbed", "real_authors", "world_facts"),
        ("scoring", "embedder"),
    ),
    "wmdp": ((), ("harness",)),
    "whp": (("seen", "unseen"), ("perplexity",)),
    "detox": ((), ("classifier", "perplexity")),
}


def _check_names(config: dict, name: str) -> None:
    """What a schema cannot say: template, modules and their options fit; splits, figures and models refer to what there is."""
    check_template(config["template"])
    _check_modules(config, name)
    _check_splits(config, name)
    _check_figures(config, name)
    if config["task"] != "tofu" and config["evaluation"]["protocols"] != ["wagle"]:
        raise WagleError(
            f"{name}: evaluation.protocols of task {config['task']}",
            "[wagle]: the others are TOFU's",
        )
    models = config["models"]
    trained = [
        model
        for model in ("target", "retrained")
        if models.get(model, {}).get("source") == "finetune"
    ]
    for key in ("base", "finetune"):
        if trained and key not in models:
            raise WagleError(
                f"{name}: models.{trained[0]} is fine-tuned, but there is no models.{key}"
            )
    if config["task"] == "tofu" and "retrained" not in models:
        raise WagleError(f"{name}: no models.retrained", "TOFU's forget quality compares with it")


def _check_modules(config: dict, name: str) -> None:
    for selection, options in config["selections"].items():
        if selection in WITHOUT_SCORE:
            continue
        known = {"gamma", *identity.keyword_options(score_module(selection, options), "score")}
        _known_options(f"{name}: selections.{selection}.options", options.get("options", {}), known)
        if (
            "gamma" in identity.keyword_options(score_module(selection, options), "score")
            and "gamma" not in options
        ):
            raise WagleError(
                f"{name}: selections.{selection} has no gamma",
                "a number, such as 1.0e-6 (paper, TOFU)",
            )
    for method, options in config["methods"].items():
        module = objective_module(method, options)
        _known_options(
            f"{name}: methods.{method}.options",
            options.get("options", {}),
            identity.keyword_options(module, "loss"),
        )
        if (
            identity.constant(module, "FORGET_LABELS") == "refusal"
            and "refusals" not in config["data"]["splits"]
        ):
            raise WagleError(
                f"{name}: methods.{method} needs refusal answers", "a split data.splits.refusals"
            )


def _check_splits(config: dict, name: str) -> None:
    splits, evaluation = config["data"]["splits"], config["evaluation"]
    needed, keys = REQUIRED[config["task"]]
    for key in keys:
        if key not in evaluation:
            raise WagleError(
                f"{name}: task {config['task']} has no evaluation.{key}",
                do="see wagle/assets/schema.json",
            )
    asked = dict.fromkeys(needed, f"task {config['task']}")
    asked |= dict.fromkeys(
        evaluation.get("harness", {}).get("local", []), "evaluation.harness.local"
    )
    asked |= dict.fromkeys(evaluation["generation"].get("roles", []), "evaluation.generation.roles")
    asked |= {"wikitext": "evaluation.perplexity"} if "perplexity" in evaluation else {}
    if evaluation.get("classifier", {}).get("source") == "probe":
        asked["toxicity_labels"] = "evaluation.classifier (probe)"
        if "embedder" not in evaluation:
            raise WagleError(
                f"{name}: evaluation.classifier is a probe",
                "an evaluation.embedder whose embeddings it reads",
            )
    base = config["models"].get("base", {})
    asked |= dict.fromkeys(
        config["models"].get("finetune", {}).get("replay", []), "models.finetune.replay"
    )
    asked |= dict.fromkeys(
        [*base.get("corpus", []), *base.get("pretrain", {}).get("roles", [])], "models.base"
    )
    for role, by in asked.items():
        if role not in splits:
            raise WagleError(
                f"{name}: {by} reads the split {role!r}, which data.splits lacks",
                f"one of {', '.join(splits)}",
            )
    for role in splits:
        for source, part in parts(config, role):
            lacks = [
                key
                for key in ("dataset", "revision")
                if key not in part and key not in config["data"]
            ]
            if source == "hub" and lacks:
                raise WagleError(
                    f"{name}: split {role} comes from the hub, but has no {', '.join(lacks)}",
                    "here or under data",
                )
            if source == "files" and not config["data_dir"]:
                raise WagleError(
                    f"{name}: split {role} comes from files, but data_dir is not set",
                    "a folder with the .jsonl or .jsonl.gz files",
                    "add --config data_dir=/path/to/data",
                )
            wanted = (
                ("seed", "authors_total", "authors_forget")
                if config["task"] == "tofu"
                else ("seed",)
            )
            missing = [key for key in wanted if key not in config["data"].get("synthetic", {})]
            if source == "synthetic" and role != "refusals" and missing:
                raise WagleError(
                    f"{name}: split {role} is synthetic, but data.synthetic has no {', '.join(missing)}"
                )


def _check_figures(config: dict, name: str) -> None:
    blocks = {f"figures.{figure}": block for figure, block in config["figures"].items()}
    blocks |= {"examples": config["examples"]} if "examples" in config else {}
    for where, block in blocks.items():
        for key, group in (
            ("method", "methods"),
            ("methods", "methods"),
            ("selection", "selections"),
            ("selections", "selections"),
        ):
            named = block.get(key, [])
            for found in [named] if isinstance(named, str) else named:
                if found not in config[group]:
                    _unknown(f"{name}: {where}.{key}", found, config[group])
                if found in WITHOUT_SCORE and where in (
                    "figures.density",
                    "figures.ratio_sweep",
                    "figures.sparsity_sweep",
                ):
                    raise WagleError(
                        f"{name}: {where}.{key} names {found!r}", "a selection that has a mask"
                    )
        for key in ("ratios", "seeds", "gammas"):
            if len(set(block.get(key, []))) < len(block.get(key, [])):
                raise WagleError(
                    f"{name}: {where}.{key} repeats a value: {block[key]}", "each value once"
                )
    sweep = config["figures"].get("gamma_sweep")
    if sweep and "gamma" not in config["selections"][sweep["selection"]]:
        raise WagleError(
            f"{name}: figures.gamma_sweep.selection {sweep['selection']!r} has no gamma",
            "a selection with one",
        )


def _known_options(where: str, options: dict, known) -> None:
    for key in options:
        if key not in known:
            _unknown(where, key, known)


def _unknown(where: str, found: str, known) -> None:
    near = difflib.get_close_matches(found, list(known), n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise WagleError(
        f"{where}: unknown name {found!r}{hint}", f"one of {', '.join(sorted(known)) or 'none'}"
    )


def training_gpus(config: dict) -> int:
    """GPUs of one fine-tuning or unlearning job, if its stage is one of the gpu_stages."""
    return config["resources"].get("training_gpus", config["resources"]["gpu"])


def about(config: dict) -> dict[str, str]:
    """What a report says of an experiment in one line each."""
    target = config["models"]["target"]
    base = config["models"]["base"] if target["source"] == "finetune" else target
    return {
        "Model": base.get("name")
        or base.get("path")
        or base.get("package")
        or "small Llama from scratch",
        "Data": config["data"]["source"] + (f". {config['note']}" if "note" in config else ""),
        "Methods": ", ".join(config["methods"]),
        "Selections": ", ".join(config["selections"]),
        "Seeds": ", ".join(map(str, config["seeds"])),
    }
