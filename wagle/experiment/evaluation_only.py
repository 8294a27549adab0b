"""The experiment behind `wagle evaluate`: one model, or two, measured as TOFU measures them.

It is the default experiment without training: the target is the given model, and no cell is asked
for. So evaluation, records and audit are those of any other experiment.

Notable: the data folder has a file for each role of TOFU, or TOFU's own files, or your own rows
alone, which task custom measures. Standard library only. Left out: tasks without a scoring log;
`wagle harness` has their benchmarks.
"""

import copy
from pathlib import Path
from typing import NamedTuple

from wagle.data.rows import candidates
from wagle.errors import WagleError
from wagle.experiment import model_folders, new_file

NAME = "evaluation"  # results lie below results/evaluation/
ROLES = ("forget", "retain", "forget_perturbed", "retain_perturbed", "real_authors", "world_facts")
OPTIONAL = ("holdout",)
OWN = ("forget", "retain", "general", "holdout")  # roles of task custom
RETAINED = {"01": "99", "05": "95", "10": "90"}  # TOFU's forget share: what it retains, in percent


class Rows(NamedTuple):
    """What a data folder holds: the task that it is for, and the entries of data.splits."""

    task: str
    splits: dict[str, dict]


def rows_in(data_dir: str, forget: str, protocol: str) -> Rows:
    """The rows in `data_dir`: TOFU's roles, or your own rows to forget and to retain.

    forget: TOFU's name of the forget set, such as forget10, where the folder has TOFU's files.
    protocol: your own rows have the protocol wagle alone.

    Raises WagleError when the folder has no layout that fits.
    """
    root = Path(data_dir)
    if not root.is_dir():
        raise WagleError(f"--data {data_dir!r} is not a folder", "the folder with the data files")
    own = {role: role for role in (*ROLES, *OPTIONAL) if _is_there(root, role)}
    if set(ROLES) <= own.keys():
        return Rows("tofu", {role: {"name": name} for role, name in own.items()})
    if {"forget", "retain"} <= own.keys() and protocol == "wagle":
        entries = {role: {"name": role} for role in OWN if _is_there(root, role)}
        return Rows("custom", {"general": {"source": "synthetic"}} | entries)
    share = forget.removeprefix("forget")
    if share not in RETAINED:
        raise WagleError(
            f"--forget {forget!r}", f"one of {', '.join(f'forget{s}' for s in RETAINED)}"
        )
    tofu = {
        "forget": forget,
        "retain": f"retain{RETAINED[share]}",
        "forget_perturbed": f"{forget}_perturbed",
        "retain_perturbed": "retain_perturbed",
        "real_authors": "real_authors_perturbed",
        "world_facts": "world_facts_perturbed",
        "holdout": f"holdout{share}",
    }
    missing: list[str] = []
    for prefix in ("", "tofu/"):
        there = {role: f"{prefix}{name}" for role, name in tofu.items()}
        there = {role: name for role, name in there.items() if _is_there(root, name)}
        missing = missing or [tofu[role] for role in ROLES if role not in there]
        if set(ROLES) <= there.keys():
            return Rows("tofu", {role: {"name": name} for role, name in there.items()})
    lacks = [role for role in ROLES if role not in own]
    raise WagleError(
        f"--data {data_dir!r} lacks {', '.join(lacks)}; of TOFU's files it lacks"
        f" {', '.join(missing)}",
        "a .jsonl file for each role, or TOFU's files, here or in tofu/; with protocol wagle,"
        " forget and retain suffice (docs/data.md)",
    )


def _is_there(root: Path, name: str) -> bool:
    return any(path.is_file() for path in candidates(root, name))


def model_block(model: str) -> dict:
    """A model's block of a config, as new_file.model_block() gives it; a folder is checked whole.

    Raises WagleError as that and check_folder() do.
    """
    block = new_file.model_block(model)
    if block["source"] == "path":
        model_folders.check_folder(block["path"], "the model")
    return block


def weights(block: dict) -> float:
    """Number of weights, for the memory that jobs ask for; a guess where no folder tells it."""
    return float(new_file.model_size(block).parameters) if block["source"] == "path" else 7.0e9


def experiment(
    default: dict,
    *,
    model: dict,
    reference: dict | None,
    data_dir: str,
    forget: str,
    protocol: str,
    template: str,
    embedder: str | None,
    max_length: int,
    max_new_tokens: int,
    token_budget: int,
    precision: str,
    gpus: int,
    threads: int,
) -> dict:
    """The config. default: that of config/config.yaml, whose other blocks stay as they are.

    Raises WagleError as rows_in() does.
    """
    config, rows = copy.deepcopy(default), rows_in(data_dir, forget, protocol)
    for key in ("examples", "note"):
        config.pop(key, None)
    config |= {
        "experiment": NAME,
        "seeds": [0],
        "data_dir": str(Path(data_dir).resolve()),
        "task": rows.task,
        "data": {"source": "files", "splits": rows.splits},
        "template": template,
        "max_length": max_length,
        "models": {"target": model} | ({"retrained": reference} if reference else {}),
        # No cell is made. The schema asks for a method and a selection.
        "selections": {"dense": {}},
        "methods": {"graddiff": config["methods"]["graddiff"]},
        "figures": {},
        "keep": [],
    }
    config["evaluation"] |= {
        "protocols": list(dict.fromkeys(["wagle", protocol])),
        "scoring": {"token_budget": token_budget, "precision": precision},
        "generation": {"max_new_tokens": max_new_tokens, "token_budget": token_budget},
    }
    if rows.task == "custom":
        del config["evaluation"]["embedder"]
    elif embedder:
        config["evaluation"]["embedder"] = {"source": "path", "path": str(Path(embedder).resolve())}
    config["resources"] |= {
        "parameters": weights(model),
        "gpu": min(gpus, 1),
        "gpu_stages": ["evaluate"] if gpus else [],
        "threads": threads,
    }
    return config
