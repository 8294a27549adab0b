"""WMDP and MMLU accuracy through lm-evaluation-harness, zero-shot, from local files or the hub.

The harness scores, averages and gives the standard errors; this module says which task reads which file, and takes a slice
spread evenly over a file (MMLU is sorted by subject) where a limit is set.
"""

from importlib import metadata
from pathlib import Path

from wagle import identity
from wagle.data import split_file
from wagle.errors import WagleError

FOLDER = identity.ROOT / "config" / "harness"


def local_task(name: str, data_dir: str | Path) -> dict:
    """The harness's task config `name` from config/harness, its file looked up in `data_dir`."""
    import yaml

    path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.yaml")))
        raise WagleError(f"no harness task {name!r}", f"one of {known}")
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    files = config["dataset_kwargs"]["data_files"]
    config["dataset_kwargs"]["data_files"] = {split: str(split_file(data_dir, name)) for split, name in files.items()}
    return config


def _count(path: str) -> int:
    from wagle.data import read_rows

    return len(read_rows(path))


def evaluate(model: str | Path, tasks: list[str], *, data_dir: str | Path | None = None, limit: int | None = None,
             batch_size: int = 8, precision: str = "fp32") -> dict:  # fmt: skip
    """{task: {acc, acc_stderr, n, version}} and the harness's version under `harness`, for a checkpoint folder.

    With `data_dir` tasks read its files, else the hub. `limit` questions a task. Raises WagleError for an unknown task or
    a data set that cannot be loaded.
    """
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    from wagle import models

    if limit is not None and limit < 1:
        raise WagleError(f"limit {limit}", "at least 1")
    loaded: list = list(tasks)
    samples = None
    if data_dir is not None:
        loaded = [local_task(name, data_dir) for name in tasks]
        if limit:
            counts = {task["task"]: _count(task["dataset_kwargs"]["data_files"]["test"]) for task in loaded}
            samples = {name: [i * n // min(limit, n) for i in range(min(limit, n))] for name, n in counts.items()}
    lm = HFLM(pretrained=models.load(model, precision), tokenizer=models.load_tokenizer(model), batch_size=batch_size)
    try:
        found = simple_evaluate(
            model=lm, tasks=loaded, num_fewshot=0, samples=samples, limit=None if data_dir else limit, bootstrap_iters=1000,
            log_samples=False,
        )  # fmt: skip
    except (OSError, ValueError, KeyError) as error:
        raise WagleError(f"the harness could not run {', '.join(tasks)}: {error}", do="check data_dir, or the network") from None
    result = {"harness": metadata.version("lm_eval")}
    for name in tasks:
        key = f"{name}_local" if data_dir is not None else name
        entry = found["results"][key]
        counts = found["n-samples"].get(key, {})
        result[name] = {
            "acc": entry["acc,none"],
            "acc_stderr": entry["acc_stderr,none"],
            "n": counts.get("effective"),
            "version": found["versions"].get(key),
        }
    return result
