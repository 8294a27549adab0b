"""Checks of what a config points at, before any job: files, rows, model folders, chat templates.

`wagle validate` and the start of every run make them. What is wrong raises WagleError; what is
odd, but may be meant, comes back as warnings.

Notable: a run must start fast. The outcome is remembered by the files' sizes and times
(wagle/runtime/content.py). Of a file over LARGE bytes only the first rows are looked at; the job
that makes the split reads the rest. Standard library only. Left out: data and models of the hub,
which need the network; the first job that reads one tells.
"""

from pathlib import Path

from wagle.data.chat import is_chat
from wagle.data.rows import candidates, check_together, repeated, split_file
from wagle.data.sources import load_split
from wagle.errors import WagleError, did_you_mean
from wagle.experiment import model_folders, templates
from wagle.experiment.splits import split_entries
from wagle.experiment.tasks import task_of
from wagle.runtime import content, identity

LARGE = 32 * 2**20  # bytes of a file
FIRST_ROWS = 1000  # rows of a large file that are looked at
MODELS = ("base", "target", "retrained")


def check_inputs(config: dict, name: str = "config") -> list[str]:
    """Warnings about a valid config's inputs. Raises WagleError for what no job could work with."""
    check_models(config, name)
    return [*_without_retrained(config), *check_data(config, name)]


def _without_retrained(config: dict) -> list[str]:
    if not task_of(config).needs_retrained or "retrained" in config["models"]:
        return []
    return ["no models.retrained: metrics that compare with it, such as forget quality, are absent"]


# --- models ---


def check_models(config: dict, name: str) -> None:
    """Raise WagleError unless every model folder can be loaded and has what the config needs."""
    folders = {key: spec["path"] for key, spec in _specs(config) if spec["source"] == "path"}
    for key, path in folders.items():
        if key.startswith("evaluation."):
            model_folders.check_exists(path, f"{name}: {key}.path", "a Hugging Face model folder")
        else:
            model_folders.check_folder(path, f"{name}: {key}.path")
    if any(is_chat(template) for template in templates.folders(config)):
        _check_chat(config, name)


def _specs(config: dict) -> list[tuple[str, dict]]:
    """(key, block) of every model that the config names."""
    models, evaluation = config["models"], config["evaluation"]
    named = [(f"models.{key}", models[key]) for key in MODELS if key in models]
    helpers = [key for key in ("embedder", "classifier") if key in evaluation]
    return named + [(f"evaluation.{key}", evaluation[key]) for key in helpers]


def _check_chat(config: dict, name: str) -> None:
    for key, spec in _specs(config):
        if key.startswith("evaluation."):
            continue
        scratch = spec["source"] == "scratch"
        if scratch or (
            spec["source"] == "path" and not model_folders.has_chat_template(spec["path"])
        ):
            model = "a model from scratch" if scratch else spec["path"]
            raise WagleError(
                f"{name}: the template is `chat`, but the tokenizer of {key} ({model}) has no chat"
                " template",
                "a chat model, or a template with {question} and {answer}",
                'write one, such as template: "Question: {question}\\nAnswer: {answer}"',
            )


# --- data ---


def check_data(config: dict, name: str) -> list[str]:
    """Warnings about the rows of all splits from files.

    Raises WagleError for a missing file, rows without their columns, and splits that do not fit
    each other.
    """
    files = _files(config, name)
    if not files:
        return []
    roles = [
        role
        for role in config["data"]["splits"]
        if all(entry.source == "files" for entry in split_entries(config, role))
    ]
    code = identity.code_identity("wagle.experiment.preflight")
    stamps = {role: [content.stamp(path) for path in paths] for role, paths in files.items()}
    key = ["data", code, config["data"], config["data_dir"], stamps]

    def check() -> list[str]:
        large = [r for r in roles if any(path.stat().st_size > LARGE for path in files[r])]
        rows = {role: _rows(config, role, role in large) for role in roles}
        whole = {role: split for role, split in rows.items() if role not in large}
        if {"forget", "retain"} <= whole.keys():
            check_together(whole)
        return [warning for role in whole for warning in _repeated(role, whole[role])]

    return content.remembered(key, check)


def _files(config: dict, name: str) -> dict[str, list[Path]]:
    """The files of each role. Raises WagleError for one that is missing, naming the nearest."""
    files: dict[str, list[Path]] = {}
    for role in config["data"]["splits"]:
        for source, options in split_entries(config, role):
            if source != "files":
                continue
            split = options.get("name", role)
            if not any(path.is_file() for path in candidates(config["data_dir"], split)):
                _raise_no_file(config["data_dir"], split, f"{name}: data.splits.{role}")
            files.setdefault(role, []).append(split_file(config["data_dir"], split))
    return files


def _raise_no_file(data_dir: str, split: str, where: str) -> None:
    root = Path(data_dir)
    if not root.is_dir():
        raise WagleError(
            f"data_dir {data_dir!r} is not a folder",
            "the folder with the data files",
            "check data_dir, in the config or after --config",
        )
    expected = " or ".join(path.name for path in candidates(root, split))
    folder = (root / split).parent
    beside = sorted({p.name.split(".")[0] for p in folder.iterdir()}) if folder.is_dir() else []
    hint = did_you_mean(split.split("/")[-1], beside)
    raise WagleError(
        f"{where}: no file for {split!r} in {data_dir}{hint}",
        expected,
        "check data_dir and the split's name",
    )


def _rows(config: dict, role: str, large: bool) -> list[dict]:
    spec, data = config["data"]["splits"][role], config["data"]
    if not large:
        return load_split(role, spec, data, config["data_dir"])
    cut = [
        {key: value for key, value in entry.items() if key not in ("rows", "spread")}
        for entry in (spec if isinstance(spec, list) else [spec])
    ]
    return load_split(role, cut, data, config["data_dir"], first=FIRST_ROWS)


def _repeated(role: str, rows: list[dict]) -> list[str]:
    again = repeated(role, rows)
    if not again:
        return []
    example = next(iter(rows[again[0]].values()))
    return [
        f"data.splits.{role}: {len(again)} of {len(rows)} rows repeat an earlier one, such as row"
        f" {again[0]} ({str(example)[:60]!r}). Each counts in training and in averages"
    ]
