"""Benchmark accuracies and WikiText's word perplexity through lm-evaluation-harness, zero-shot.

The harness scores, averages and gives the standard errors. This module says which task reads which
file. Tasks in wagle/assets/harness read a local file: a split of the pipeline, or a file of a data
folder. Any other name is a task of the harness itself, which fetches its data from the hub.
"""

from importlib import metadata
from pathlib import Path

from wagle.data.rows import read_rows, split_file
from wagle.errors import WagleError
from wagle.evaluation import wikitext
from wagle.runtime import assets


def local_task(
    name: str, rows: str | Path | None = None, data_dir: str | Path | None = None
) -> dict:
    """The harness's task config `name` from wagle/assets/harness.

    The task reads the file `rows` where it is given, else the file that the config names, below
    `data_dir`. Raises WagleError for an unknown name or a missing file.
    """
    import yaml

    config = yaml.safe_load(assets.text(f"harness/{name}.yaml", "harness task"))
    files = config["dataset_kwargs"]["data_files"]
    config["dataset_kwargs"]["data_files"] = {
        s: str(rows or split_file(data_dir, file)) for s, file in files.items()
    }
    return config | (wikitext.functions() if name == "wikitext" else {})


def run(
    model,
    tokenizer,
    local: dict[str, dict],
    hub: list[str],
    *,
    limit: int | None = None,
    batch_size: int = 8,
    samples: dict[str, list[int]] | None = None,
) -> dict:
    """{task: {acc, acc_stderr, n, version, rows}} and the harness's version under `harness`.

    A task of texts has {word_perplexity, n, version, rows}, and in `rows` the log-likelihood and
    the number of words of each text.

    `local` maps names to task configs (`local_task`). `samples` selects their questions by index.
    `hub` names tasks of the harness itself, of which the first `limit` questions are answered.
    `rows` are 0 or 1 per question of a local task, in file order.
    Raises WagleError for an unknown task or a data set that cannot be loaded.
    """
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    result: dict = {"harness": metadata.version("lm_eval")}
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    calls = []
    if local:
        calls.append((list(local), {"tasks": list(local.values()), "samples": samples}))
    if hub:
        calls.append((list(hub), {"tasks": list(hub), "limit": limit}))
    for names, arguments in calls:
        try:
            output = simple_evaluate(
                model=lm, num_fewshot=0, bootstrap_iters=1000, log_samples=True, **arguments
            )
        except (OSError, ValueError, KeyError) as error:
            raise WagleError(
                f"the harness could not run {', '.join(names)}: {error}",
                do="check the data, or the network",
            ) from None
        for name in names:
            key = f"{name}_local" if name in local else name
            entry, answered = output["results"][key], output.get("samples", {}).get(key, [])
            answered = sorted(answered, key=lambda sample: sample["doc_id"])
            about = {
                "n": output["n-samples"].get(key, {}).get("effective"),
                "version": output["versions"].get(key),
            }
            if "word_perplexity,none" in entry:
                rows = [[float(x) for x in sample["word_perplexity"]] for sample in answered]
                value = entry["word_perplexity,none"]
                result[name] = {"word_perplexity": value, **about, "rows": rows}
                continue
            if "acc,none" not in entry:
                raise WagleError(
                    f"harness task {name} reports no accuracy", "a task whose metric is acc"
                )
            result[name] = {
                "acc": entry["acc,none"],
                "acc_stderr": entry["acc_stderr,none"],
                **about,
                "rows": [float(s["acc"]) for s in answered] if name in local else None,
            }
    return result


def evaluate(
    model: str | Path,
    tasks: list[str],
    *,
    data_dir: str | Path | None = None,
    limit: int | None = None,
    batch_size: int = 8,
    precision: str = "fp32",
) -> dict:
    """`run` for a checkpoint folder: tasks read the files below `data_dir`, else the hub.

    A task has at most `limit` questions. Those of a local file are spread evenly over it, because
    MMLU is sorted by subject. Raises WagleError for a limit below 1, and as `run` does.
    """
    from wagle.model import checkpoints

    if limit is not None and limit < 1:
        raise WagleError(f"limit {limit}", "at least 1")
    local = (
        {name: local_task(name, data_dir=data_dir) for name in tasks}
        if data_dir is not None
        else {}
    )
    samples = None
    if local and limit:
        counts = {
            task["task"]: len(read_rows(task["dataset_kwargs"]["data_files"]["test"]))
            for task in local.values()
        }
        samples = {
            name: [i * n // min(limit, n) for i in range(min(limit, n))]
            for name, n in counts.items()
        }
    loaded, tokenizer = checkpoints.load(model, precision), checkpoints.load_tokenizer(model)
    hub = [] if local else list(tasks)
    results = run(
        loaded, tokenizer, local, hub, limit=limit, batch_size=batch_size, samples=samples
    )
    for entry in results.values():
        if isinstance(entry, dict):
            del entry["rows"]
    return results
