"""What a schema cannot check of a config: names refer to something, and blocks fit together.

Template, modules and their options, splits, figures and models are checked. An error names the key
and the nearest known name.

Notable: standard library only, because Snakemake checks the config on every start. Left out: keys
and types of values (schema.py).
"""

import fnmatch
from collections.abc import Iterable

from wagle.data.prompts import check_template
from wagle.errors import WagleError, did_you_mean
from wagle.experiment import figures, grid, official, plugins
from wagle.experiment.cells import WITHOUT_SCORE
from wagle.experiment.model_modules import modules_on_disk
from wagle.experiment.objective_checks import check_objective
from wagle.experiment.plugins import objective_module, reads_refusals, score_module
from wagle.experiment.selection_checks import check_budget, check_curvature
from wagle.experiment.settings import blocks, settings_of
from wagle.experiment.splits import split_entries
from wagle.experiment.tasks import Task, task_of
from wagle.experiment.unknown_names import check_known, raise_unknown
from wagle.runtime import identity


def check_references(config: dict, name: str) -> None:
    """Raise WagleError unless everything that `config` names exists; `name` is the file's."""
    check_template(config["template"])
    _check_selections(config, name)
    _check_methods(config, name)
    task = task_of(config)
    _check_task(config, task, name)
    _check_split_references(config, task, name)
    _check_book(config, name)
    _check_split_sources(config, name)
    _check_lora_modules(config, name)
    _check_figures(config, task, name)
    if "tuning" in config:
        _check_tuning(config, task, name)
    _check_keep(config, name)


def _check_selections(config: dict, name: str) -> None:
    for selection, options in config["selections"].items():
        if selection in WITHOUT_SCORE:
            continue
        _check_module(f"{name}: selections", selection, options, "scores", WITHOUT_SCORE)
        keywords = identity.keyword_options(score_module(selection, options), "score")
        where = f"{name}: selections.{selection}"
        check_known(f"{where}.options", options.get("options", {}), {"gamma", *keywords})
        rowwise = identity.constant(score_module(selection, options), "SELECT") == "rows"
        if options.get("matched") and not rowwise:
            raise WagleError(
                f"{where}.matched is true, but its score is not row-wise", "SELECT = 'rows'"
            )
        check_curvature(config, selection, name)
        check_budget(options, where)
        if "gamma" in keywords and "gamma" not in options:
            raise WagleError(f"{where} has no gamma", "a number, such as 1.0e-6 (paper, TOFU)")


def _check_module(where: str, name: str, options: dict, folder: str, others: Iterable[str]) -> None:
    """A name without a module of its own is one of this project's."""
    own = plugins.known(folder)
    if "module" not in options and name not in own:
        place = f"{where.split(': ')[-1]}.{name}.module"
        known = {*own, *others} - {"finetune"}
        raise_unknown(where, name, known, f"for one of your own, say where it is: {place}")


def _check_keep(config: dict, name: str) -> None:
    """Every pattern of `keep` names a cell."""
    cells = grid.all_cells(config) if config["keep"] else []
    ids = [cell.id for cell in cells]
    groups = [f"{cell.method}/{cell.selection}*/*" for cell in cells]
    for pattern in config["keep"]:
        if not any(fnmatch.fnmatch(cell, pattern) for cell in ids):
            hint = did_you_mean(pattern, groups)
            raise WagleError(
                f"{name}: keep names {pattern!r}, which no cell matches{hint}",
                f"a pattern of the {len(ids)} cells, such as {ids[-1]}",
            )


def _check_methods(config: dict, name: str) -> None:
    for method, options in config["methods"].items():
        _check_module(f"{name}: methods", method, options, "objectives", ())
        module, where = objective_module(method, options), f"{name}: methods.{method}"
        keywords = identity.keyword_options(module, "loss")
        check_known(f"{where}.options", options.get("options", {}), keywords)
        for selection, override in options.get("overrides", {}).items():
            place = f"{where}.overrides.{selection}"
            if selection not in config["selections"]:
                raise_unknown(f"{where}.overrides", selection, config["selections"])
            check_known(f"{place}.options", override.get("options", {}), keywords)
            unread = {"ratio", "forget_labels"} & override.keys()
            if selection in WITHOUT_SCORE and unread:
                raise WagleError(
                    f"{place} has {', '.join(sorted(unread))}", "a selection that has a mask"
                )
        chosen = [settings_of(config, method, selection) for selection in config["selections"]]
        for each in chosen:
            check_objective(config, module, each.options, where)
        refuses = reads_refusals(module)
        refuses |= any(each.forget_labels == "refusal" for each in chosen)
        if refuses and "refusals" not in config["data"]["splits"]:
            raise WagleError(f"{where} needs refusal answers", "a split data.splits.refusals")
        _check_habits(config, method, name)


def _check_habits(config: dict, method: str, name: str) -> None:
    """Habits of the official code fit the template, and no key says the opposite."""
    for selection in config["selections"]:
        chosen = settings_of(config, method, selection).habits
        if "prompt-tag" in chosen and official.TAG not in config["template"]:
            raise WagleError(
                f"{name}: methods.{method} has the official habit prompt-tag, but the template "
                f"{config['template']!r} has no {official.TAG}",
                "a Llama-2 template",
                "name the other habits one by one",
            )
        own = {k: v for block in blocks(config, method, selection)[1:] for k, v in block.items()}
        if "bf16-weights" in chosen and own.get("precision", "bf16") != "bf16":
            raise WagleError(
                f"{name}: methods.{method} has the official habit bf16-weights and precision "
                f"{own['precision']}",
                "one of the two",
            )


def _check_task(config: dict, task: Task, name: str) -> None:
    for key in task.evaluation:
        if key not in config["evaluation"]:
            raise WagleError(
                f"{name}: task {config['task']} has no evaluation.{key}", do="see docs/config.md"
            )
    _check_templates(config, task, name)
    if "embedder" in task.evaluation and "rows" in config["evaluation"]["generation"]:
        raise WagleError(
            f"{name}: evaluation.generation.rows is given with task {config['task']}",
            "no such key: every row is measured",
            "use rows or spread of the splits",
        )
    unknown = set(config["evaluation"]["protocols"]) - set(task.layouts)
    if unknown:
        raise WagleError(
            f"{name}: evaluation.protocols has {', '.join(sorted(unknown))}",
            f"of task {config['task']}: {', '.join(task.layouts)}",
        )
    models = config["models"]
    for model in ("target", "retrained"):
        if models.get(model, {}).get("source") == "finetune":
            for key in ("base", "finetune"):
                if key not in models:
                    raise WagleError(
                        f"{name}: models.{model} is fine-tuned, but there is no models.{key}"
                    )


def _check_templates(config: dict, task: Task, name: str) -> None:
    """Protocols that have templates of their own are computed, from logs that have a template."""
    for protocol, template in config["evaluation"].get("templates", {}).items():
        where = f"{name}: evaluation.templates.{protocol}"
        if not task.scoring_log:
            raise WagleError(
                f"{where}, but task {config['task']} has no scoring log", "no templates"
            )
        if protocol not in config["evaluation"]["protocols"]:
            raise WagleError(f"{where} is not computed", "a protocol of evaluation.protocols")
        check_template(template)


def _split_readers(config: dict, task: Task) -> dict[str, str]:
    """Role -> the block of the config that reads this split."""
    evaluation, models = config["evaluation"], config["models"]
    base, finetune = models.get("base", {}), models.get("finetune", {})
    readers = dict.fromkeys(task.splits, f"task {config['task']}")
    readers |= dict.fromkeys(
        evaluation.get("harness", {}).get("local", []), "evaluation.harness.local"
    )
    readers |= dict.fromkeys(
        evaluation["generation"].get("roles", []), "evaluation.generation.roles"
    )
    if evaluation.get("classifier", {}).get("source") == "probe":
        readers["toxicity_labels"] = "evaluation.classifier (probe)"
    readers |= dict.fromkeys(finetune.get("replay", []), "models.finetune.replay")
    for model in ("target", "retrained"):
        trained = models.get(model, {}).get("roles", [])
        readers |= dict.fromkeys(trained, f"models.{model}.roles")
    pretrain = base.get("pretrain", {}).get("roles", [])
    return readers | dict.fromkeys([*base.get("corpus", []), *pretrain], "models.base")


def _check_split_references(config: dict, task: Task, name: str) -> None:
    splits, evaluation = config["data"]["splits"], config["evaluation"]
    if evaluation.get("classifier", {}).get("source") == "probe" and "embedder" not in evaluation:
        raise WagleError(
            f"{name}: evaluation.classifier is a probe",
            "an evaluation.embedder whose embeddings it reads",
        )
    for role, reader in _split_readers(config, task).items():
        if role not in splits:
            raise WagleError(
                f"{name}: {reader} reads the split {role!r}, which data.splits lacks",
                f"one of {', '.join(splits)}",
            )


def _check_book(config: dict, name: str) -> None:
    """Prompts that unlearning does not read measure forgetting only if the target knew them."""
    target = config["models"]["target"]
    if "unseen" in config["data"]["splits"] and target["source"] == "finetune":
        roles = target.get("roles", ["forget", "retain"])
        if "book" not in roles:
            raise WagleError(
                f"{name}: the target is tuned on {', '.join(roles)}, and never reads the passages"
                " of unseen",
                "a split book with all passages, named in models.target.roles",
            )


def _check_split_sources(config: dict, name: str) -> None:
    data = config["data"]
    for role in data["splits"]:
        where = f"{name}: split {role}"
        for source, options in split_entries(config, role):
            if role == "wikitext" and "form" in options:
                raise WagleError(
                    f"{where} has form {options['form']}",
                    "no form: the harness makes documents of the raw lines, blank ones included",
                )
            missing = [key for key in ("dataset", "revision") if key not in options | data]
            if source == "hub" and missing:
                raise WagleError(
                    f"{where} comes from the hub, but has no {', '.join(missing)}",
                    "here or under data",
                )
            if source == "files" and not config["data_dir"]:
                raise WagleError(
                    f"{where} comes from files, but data_dir is not set",
                    "a folder with the .jsonl or .jsonl.gz files",
                    "add --config data_dir=/path/to/data",
                )
            keys = ("seed", "authors_total", "authors_forget")
            keys = keys if config["task"] == "tofu" else ("seed",)
            missing = [key for key in keys if key not in data.get("synthetic", {})]
            if source == "synthetic" and role not in ("refusals", "general") and missing:
                raise WagleError(
                    f"{where} is synthetic, but data.synthetic has no {', '.join(missing)}"
                )


def _check_lora_modules(config: dict, name: str) -> None:
    """LoRA's target modules exist, as far as the model's modules can be told without loading it."""
    blocks = {
        "selections.lora": config["selections"].get("lora", {}),
        "models.finetune.adapters": config["models"].get("finetune", {}).get("adapters", {}),
    }
    blocks = {where: block for where, block in blocks.items() if "target_modules" in block}
    modules = modules_on_disk(config["models"]) if blocks else None
    for where, block in blocks.items() if modules is not None else ():
        for target in block["target_modules"]:
            if not any(f".{module}".endswith(f".{target}") for module in modules):
                known = {module.rpartition(".")[2] for module in modules}
                raise_unknown(f"{name}: {where}.target_modules", target, known)


def _check_figures(config: dict, task: Task, name: str) -> None:
    blocks = {f"figures.{key}": options for key, options in config["figures"].items()}
    for key, options in config["figures"].items():
        if "module" not in options and key not in figures.known():
            raise_unknown(f"{name}: figures", key, figures.known())
        figures.load(key, options)
    for block in ("examples", "comparisons"):
        if block in config:
            blocks[block] = config[block]
    for where, options in blocks.items():
        _check_figure_names(config, f"{name}: {where}", options)
        for key in ("ratios", "seeds", "gammas"):
            if len(set(options.get(key, []))) < len(options.get(key, [])):
                raise WagleError(
                    f"{name}: {where}.{key} repeats a value: {options[key]}", "each value once"
                )
    if "methods" in config["figures"]:
        metric = config["figures"]["methods"]["metric"]
        known = [each for group in task.layouts["wagle"].values() for each in group]
        check_known(f"{name}: figures.methods.metric", [metric], known)
    if "trade_off" in config["figures"] and "tuning" not in config:
        raise WagleError(f"{name}: figures.trade_off shows trials", "a block tuning")
    for figure in ("gamma_sweep", "curvature_sweep"):
        sweep = config["figures"].get(figure)
        if sweep and "gamma" not in config["selections"][sweep["selection"]]:
            raise WagleError(
                f"{name}: figures.{figure}.selection {sweep['selection']!r} has no gamma",
                "a selection with one",
            )


def _check_tuning(config: dict, task: Task, name: str) -> None:
    """Trials share no seed with reported cells, and their rule and rows fit the task."""
    tuning, where = config["tuning"], f"{name}: tuning"
    used = {
        "seeds": config["seeds"],
        **{f"figures.{k}.seeds": o.get("seeds", []) for k, o in config["figures"].items()},
    }
    for key, seeds in used.items():
        if shared := set(tuning["seeds"]) & set(seeds):
            raise WagleError(
                f"{where}.seeds and {key} share {', '.join(map(str, sorted(shared)))}",
                "seeds that no reported cell uses",
            )
    rule = tuning["rule"]
    metrics = [metric for group in task.layouts["wagle"].values() for metric in group]
    for metric in (rule["maximise"], *rule["subject_to"]):
        if metric not in metrics:
            raise_unknown(f"{where}.rule", metric, metrics)
        if metric in task.lower_is_better:
            raise WagleError(f"{where}.rule names {metric}, which is better when it is lower")
    for constraint in rule["subject_to"].values():
        if constraint["of"] == "retrained" and "retrained" not in config["models"]:
            raise WagleError(f"{where}.rule compares with retrained", "a models.retrained")
    if "rows" in tuning and not task.scoring_log:
        raise WagleError(
            f"{where}.rows is given, but the task is {config['task']}", "task tofu or custom"
        )
    for key, options in config["selections"].items():
        if "lr" in options:
            raise WagleError(
                f"{name}: selections.{key}.lr is given, and its rate is tuned",
                do="remove it; tuning.lrs and tuning.lrs_without_ratio hold the rates",
            )
    for method, options in config["methods"].items():
        for key, override in options.get("overrides", {}).items():
            if searched := {"lr", "ratio"} & override.keys():
                raise WagleError(
                    f"{name}: methods.{method}.overrides.{key} has {', '.join(sorted(searched))}, "
                    "which is tuned",
                    do="remove it; tuning.lrs and tuning.ratios hold the points",
                )


def _check_figure_names(config: dict, where: str, options: dict) -> None:
    """Methods and selections that a figure names exist, and have masks where masks are shown."""
    for key, group in (
        ("method", "methods"),
        ("methods", "methods"),
        ("baselines", "methods"),
        ("selection", "selections"),
        ("selections", "selections"),
        ("estimators", "selections"),
        ("budgets", "selections"),
    ):
        names = options.get(key, [])
        for value in [names] if isinstance(names, str) else names:
            if value not in config[group]:
                raise_unknown(f"{where}.{key}", value, config[group])
            shows_masks = "ratio" in options or "ratios" in options
            shows_masks |= key in ("estimators", "budgets")
            if value in WITHOUT_SCORE and shows_masks:
                raise WagleError(f"{where}.{key} names {value!r}", "a selection that has a mask")
