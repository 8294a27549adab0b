"""Benchmark accuracies and WikiText's word perplexity through lm-evaluation-harness, zero-shot.

The harness scores, averages and gives the standard errors; this module says which task reads which file. Tasks in
wagle/assets/harness read a local file (a split of the pipeline, or a data folder's), any other name is the harness's own and
fetches its data from the hub.
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
    """The harness's task config `name` from wagle/assets/harness, reading the file `rows`, or its own name's in `data_dir`."""
    import yaml

    config = yaml.safe_load(assets.text(f"harness/{name}.yaml", "harness task"))
    files = config["dataset_kwargs"]["data_files"]
    config["dataset_kwargs"]["data_files"] = {
        s: str(rows or split_file(data_dir, file)) for s, file in files.items()
    }
    return config | (wikitext.functions() if name == "wikitext" else {})


def run(model, tokenizer, local: dict[str, dict], hub: list[str], *, limit: int | None = None, batch_size: int = 8,
        samples: dict[str, list[int]] | None = None) -> dict:  # fmt: skip
    """{task: {acc, acc_stderr, n, version, rows}} and the harness's version under `harness`.

    A task of texts has {word_perplexity, n, version, rows}, and in `rows` each text's log-likelihood and number of words.

    `local` maps names to task configs (`local_task`), `hub` names the harness's own tasks, of which `limit` questions are
    asked; `samples` picks questions of local tasks by index. `rows` are 0 or 1 per question in file order (local tasks).
    Raises WagleError for an unknown task or a data set that cannot be loaded.
    """
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    result: dict = {"harness": metadata.version("lm_eval")}
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    calls = [(list(local.values()), samples, None)] if local else []
    calls += [(list(hub), None, limit)] if hub else []
    for tasks, chosen, most in calls:
        names = list(local) if tasks and isinstance(tasks[0], dict) else tasks
        try:
            found = simple_evaluate(
                model=lm,
                tasks=tasks,
                num_fewshot=0,
                samples=chosen,
                limit=most,
                bootstrap_iters=1000,
                log_samples=True,
            )
        except (OSError, ValueError, KeyError) as error:
            raise WagleError(
                f"the harness could not run {', '.join(names)}: {error}",
                do="check the data, or the network",
            ) from None
        for name in names:
            key = f"{name}_local" if name in local else name
            entry, answered = found["results"][key], found.get("samples", {}).get(key, [])
            answered = sorted(answered, key=lambda sample: sample["doc_id"])
            about = {
                "n": found["n-samples"].get(key, {}).get("effective"),
                "version": found["versions"].get(key),
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


def evaluate(model: str | Path, tasks: list[str], *, data_dir: str | Path | None = None, limit: int | None = None,
             batch_size: int = 8, precision: str = "fp32") -> dict:  # fmt: skip
    """`run` for a checkpoint folder: with `data_dir` tasks read its files, else the hub.

    `limit` questions a task; in local files a slice spread evenly over the file, for MMLU is sorted by subject.
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
    found = run(loaded, tokenizer, local, hub, limit=limit, batch_size=batch_size, samples=samples)
    return {
        n: {k: v for k, v in e.items() if k != "rows"} if isinstance(e, dict) else e
        for n, e in found.items()
    }
