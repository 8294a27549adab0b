# Shared by all rules: the validated config, paths, identities, resources, and each rule's inputs.
# It imports only wagle's light modules, for every job parses it.
import fnmatch
import os
import re

from wagle.data.chat import is_chat
from wagle.errors import WagleError
from wagle.experiment import (
    cells,
    claims_file,
    config as experiment,
    densities,
    draws,
    figures,
    grid,
    official,
    plugins,
    preflight,
    settings,
    splits,
    tasks,
    templates,
)
from wagle.runtime import content, handover, identity
from wagle.runtime.identity import canonical

# The scripts' code is part of each job's identity, and they lie in this workflow's folder, wherever wagle is installed.
# Of a workflow that is included straight from a host, Snakemake keeps copies: of those files that were asked for.
HERE = workflow.current_basedir.get_path_or_uri(secret_free=True)
HOSTED = "://" in HERE
FOLDER = os.path.dirname(os.path.dirname(workflow.source_path("common.smk")) if HOSTED else HERE)
handover.begin(FOLDER, workflow.modifier.modify_rulename("*"))

try:
    experiment.validate(config, ", ".join(map(str, workflow.configfiles)) or "config")
    CELLS = grid.all_cells(config)
    TASK = tasks.task_of(config)
    # What the config points at is looked at once, by the process that starts the run.
    WARNINGS = preflight.check_inputs(config) if workflow.is_main_process else []
except WagleError as error:
    raise WorkflowError(f"error: {error}")

for warning in WARNINGS:
    logger.warning(f"warning: {warning}.")

R = f"results/{config['experiment']}"
SPLITS = sorted(config["data"]["splits"])
METHODS, SELECTIONS, FIGURES = config["methods"], config["selections"], config["figures"]
PROTOCOLS = config["evaluation"]["protocols"]
CLASSIFIER = config["evaluation"].get("classifier")
TRIALS = [cell.id for cell in grid.all_trials(config)]
EVALUATIONS, OTHER_TEMPLATES = templates.folders(config), templates.others(config)
KEPT = [
    cell.id for cell in CELLS for pattern in config["keep"] if fnmatch.fnmatch(cell.id, pattern)
]
TASK_MODULE = tasks.module_name(config["task"])
CLAIMS = claims_file.claims(config["task"])
THREADS = config["resources"]["threads"]


# A run whose config or code is edited while its jobs are queued must not mix versions: jobs inherit the first
# fingerprint and compare. Each job also checks the code of its own rule when it starts (wagle/runtime/job.py).
OUTSIDE = [
    options["module"]
    for group in (METHODS, SELECTIONS, FIGURES)
    for options in group.values()
    if "module" in options
]
FINGERPRINT = identity.fingerprint(config, TASK_MODULE, *OUTSIDE, hosted=HOSTED)
if not handover.same_run(config["experiment"], FINGERPRINT):
    raise WorkflowError(
        "The config or the code changed while this run was under way. Expected: both as they were when it started. "
        "To do: let it stop, then start Snakemake again; it re-plans with the new ones."
    )


wildcard_constraints:
    role="[a-z_]+",
    model="target|retrained",
    side=draws.SIDE_PATTERN,
    draw=draws.PATTERN,
    selection=r"[\w-]+(@gamma-[^/]+)?",
    ratio=r"[0-9.e-]+",
    cell=r"original|retrained|[^/]+/[^/]+/(tuned|ratio-[^/]+(/lr-[^/]+)?)/seed-\d+",
    protocol="|".join(PROTOCOLS),


# --- files and records ---


def inputs(**named):
    """Input files by name, and under `records` the record of the job that made each of them.

    A value is (folder, file) below the results folder, or a list of these.
    """
    files, records = {}, []
    for name, value in named.items():
        pairs = value if isinstance(value, list) else [value]
        paths = [f"{R}/{folder}/{file}" for folder, file in pairs]
        files[name] = paths if isinstance(value, list) else paths[0]
        records += [f"{R}/{folder}/manifest.json" for folder, _ in pairs]
    return files | {"records": list(dict.fromkeys(records))}


def fixed_inputs(**named):
    """`inputs` that no wildcard changes, for unpack()."""
    return lambda wildcards: inputs(**named)


def rows(*roles):
    """The rows of each role, as <role>_rows."""
    return {f"{role}_rows": (f"data/{role}", "rows.jsonl") for role in roles}


def outputs_of(folder, *names):
    """All files of one job, its record included: what a target asks for."""
    return [f"{R}/{folder}/{name}" for name in (*names, "manifest.json")]


TARGET = ("models/target", "checkpoint")
COLLECTED = ("collected", "metrics.csv")


# --- identities ---


def code(script, *modules):
    """Identity of a rule's code: its script, everything that imports, and modules that it loads by name."""
    if HOSTED:
        workflow.source_path(f"../workflow/scripts/{script}")
    return identity.code_identity(f"workflow/scripts/{script}", *modules)


def block(*keys, **more):
    """Canonical text of some of the config's blocks: what of the config a rule depends on."""
    return canonical({key: config[key] for key in keys} | more)


def fixed(text):
    """`text` as a param: through a function, or Snakemake would take its braces for wildcards."""
    return lambda wildcards: text


# --- resources ---


def resource(stage, kind):
    """A stage's memory (MB) or minutes, from the model's size and the experiment's factors; grows with each attempt."""
    options = config["resources"]

    def value(wildcards, attempt):
        if kind == "mem_mb":
            per_weight = options["bytes_per_weight"][stage]
            return int(attempt * (options["base_mb"] + per_weight * options["parameters"] / 2**20))
        return int(attempt * options["minutes"][stage])

    return value


def gpus(stage, sharded=False):
    """GPUs of a job; one model trained on several is `sharded`."""
    options = config["resources"]
    if stage not in options["gpu_stages"]:
        return 0
    return experiment.training_gpus(config) if sharded else options["gpu"]


# Snakemake would lower what a job asks for to what the run allows, and a model meant for four GPUs would be put on one.
if "gpu" in workflow.global_resources:
    allowed = workflow.global_resources["gpu"].value
    wanted = max(gpus(stage, sharded=True) for stage in ("finetune", "unlearn"))
    if wanted > allowed:
        raise WorkflowError(
            f"A training job asks for {wanted} GPUs, this run allows {allowed}. Expected: as many or more. "
            f"To do: --resources gpu={wanted}, or lower resources.training_gpus (or gpu) in the config."
        )


# --- inputs and params of models.smk ---


def base_roles():
    """Only a scratch base reads rows: what its tokenizer and its general knowledge are made from."""
    base = config["models"].get("base", {})
    return sorted({*base.get("corpus", []), *base.get("pretrain", {}).get("roles", [])})


def model_block(name):
    """A model's block for a rule's params: a folder is known by its content, wherever it lies.

    A function of the wildcards, so that only jobs of this rule hash a large model.
    """
    return content.identified(config["models"].get(name))


def helper_block(name):
    """The same of the embedder or the classifier."""
    return canonical(content.identified(config["evaluation"].get(name)))


def is_finetuned(wildcards):
    return config["models"][wildcards.model]["source"] == "finetune"


def training_roles(model):
    """Splits that a model is tuned on, in order: its own, or all for the target and what stays for the retrained one."""
    sets = ["forget", "retain"] if model == "target" else ["retain"]
    sets = config["models"][model].get("roles", sets)
    return [*sets, *config["models"]["finetune"].get("replay", [])]


def finetune_inputs(wildcards):
    if not is_finetuned(wildcards):
        return {}
    return inputs(base=("models/base", "checkpoint"), **rows(*training_roles(wildcards.model)))


def chat_templates():
    """Chat templates that a model must render: the job that first loads it checks that."""
    chats = [template for template in EVALUATIONS if is_chat(template)]
    return {"chat_templates": chats} if chats else {}


def finetune_config(wildcards):
    if not is_finetuned(wildcards):
        return canonical(chat_templates() or None)
    options = {key: value for key, value in config["models"]["finetune"].items() if key != "replay"}
    return block(
        encoding=official.encoding(config),
        finetune=options,
        roles=training_roles(wildcards.model),
    )


def finetune_gpus(wildcards):
    adapted = is_finetuned(wildcards) and "adapters" in config["models"]["finetune"]
    return gpus("finetune", sharded=is_finetuned(wildcards) and not adapted)


# --- inputs and params of attribution.smk ---


def gradient_inputs(wildcards):
    """Retain rows are drawn to match the number of forget rows; refusals matter only as labels of the forget loss."""
    source, _ = draws.parse_side(wildcards.side)
    further = {"retain": ["retain"], "forget-refusal": ["refusals"]}.get(source, [])
    return inputs(model=TARGET, **rows("forget", *further))


def attribution_config(habits, *keys, **more):
    """How rows become tokens under `habits`, and the attribution's own `keys`."""
    return block(
        encoding=official.encoding(config, habits),
        attribution={key: config["attribution"][key] for key in keys},
        **more,
    )


def gradient_config(wildcards):
    source, habits = draws.parse_side(wildcards.side)
    return attribution_config(
        habits,
        *("reduction", "token_budget", "precision"),
        source=source,
        seed=draws.Draw.parse(wildcards.draw).seed,
        accumulation=official.options(official.GRADIENTS, habits),
        retain_with_replacement="retain-draws" in habits,
    )


def activation_config(wildcards):
    draw = draws.Draw.parse(wildcards.draw)
    return attribution_config(
        draw.habits, "calibration_samples", "token_budget", "precision", seed=draw.seed
    )


def name_of(selection):
    return selection.partition("@")[0]


def score_inputs(wildcards):
    """Only what this score reads: magnitude and random wait for no gradient and need no GPU."""
    draw, needs = draws.Draw.parse(wildcards.draw), grid.needs(config, name_of(wildcards.selection))
    files = {
        "forget": "gradients.safetensors",
        "retain": "gradients.safetensors",
        "activations": "activations.safetensors",
    }
    needed = [name for name in files if name in needs]
    return inputs(model=TARGET, **{name: (draw.folder(name), files[name]) for name in needed})


def score_module(selection):
    return plugins.score_module(name_of(selection), SELECTIONS[name_of(selection)])


def ranking(wildcards):
    """How weights are ranked: the score's SELECT, and whether its rows keep to an exact total."""
    matched = SELECTIONS[name_of(wildcards.selection)].get("matched")
    select = identity.constant(score_module(wildcards.selection), "SELECT", "global")
    return f"{select}-matched" if matched else select


def mask_inputs(wildcards):
    return mask_files(wildcards)


def mask_files(wildcards, **more):
    scores = (f"scores/{wildcards.selection}/{wildcards.draw}", "scores.safetensors")
    return inputs(scores=scores, model=TARGET, **more)


# --- inputs and params of unlearning.smk ---


def the_cell(wildcards):
    return cells.Cell.parse(wildcards.cell)


def objective_of(wildcards):
    """Name of the code behind the cell's method."""
    method = the_cell(wildcards).method
    return plugins.objective_module(method, METHODS[method])


def unlearn_gpus(wildcards):
    return gpus("unlearn", sharded=the_cell(wildcards).selection != "lora")


def unlearn_inputs(wildcards):
    cell = the_cell(wildcards)
    refuses = plugins.reads_refusals(objective_of(wildcards))
    mask = {"mask": (grid.mask_folder(config, cell), "mask.safetensors")} if cell.has_mask else {}
    mask |= {"point": point_of(cell.group)} if cell.tuned else {}
    return inputs(model=TARGET, **mask, **rows("forget", "retain", *["refusals"] * refuses))


def unlearn_config(wildcards):
    """What this very cell depends on: the settings of its method with its selection, and LoRA's options only for LoRA."""
    cell = the_cell(wildcards)
    selection, chosen = SELECTIONS[cell.selection], settings.settings_of(
        config, cell.method, cell.selection
    )
    training = dict(chosen.training)
    if cell.tuned:  # its rate is in its pick
        del training["lr"]
    elif cell.lr is not None:
        training["lr"] = cell.lr
    adapters = {
        key: selection[key]
        for key in ("r", "alpha", "dropout", "target_modules")
        if key in selection
    }
    return block(
        options=chosen.options,
        training=training,
        encoding=chosen.encoding,
        least_moved=chosen.least_moved,
        adapters=adapters,
        evaluation_precision=evaluation_precision(),
    )


def evaluation_precision():
    """What evaluation rounds a model's weights to: a weight counts as moved if that can be read."""
    options = config["evaluation"]
    return options.get("scoring", options.get("harness", {})).get("precision", "fp32")


# --- inputs and params of tuning.smk ---


def point_of(group):
    return f"tuning/picks/{group}", "point.json"


def trials_of(wildcards):
    group = next(
        group
        for group in grid.groups(config)
        if group.group == f"{wildcards.method}/{wildcards.selection}"
    )
    return grid.trial_cells(config, group)


def trial_files(names, file="metrics.json"):
    return [(f"tuning/metrics/{name}", file) for name in names]


def pick_inputs(wildcards):
    return inputs(
        trials=trial_files(trial.id for trial in trials_of(wildcards)),
        baseline=trial_files([tuning_baseline()])[0],
        original=trial_files(["original"])[0],
    )


def tuning_baseline():
    """The baseline that the rule's constraint compares with."""
    return next(iter(config["tuning"]["rule"]["subject_to"].values()))["of"]


def tuned_mask_inputs(wildcards):
    return mask_files(wildcards, point=point_of(f"{wildcards.method}/{wildcards.selection}"))


def tuning_inputs(wildcards):
    """Metrics and per-row values of baselines and trials, and the picks."""
    names = [*(cell.id for cell in grid.baselines(config)), *TRIALS]
    return inputs(
        metrics=trial_files(names),
        rows=trial_files(names, "rows.json"),
        points=[point_of(group.group) for group in grid.groups(config)],
    )


def tuning_tables(*names):
    """Tables of the tuning, for what shows them; nothing without tuning."""
    return {name: ("tables/tuning", f"{name}.csv") for name in names if "tuning" in config}


# --- inputs and params of evaluation.smk and suites.smk ---


def row_side(side):
    """Which of the evaluated rows count, as a param, where trials have rows of their own."""
    rows_of_trials = config.get("tuning", {}).get("rows")
    return {"side": fixed(canonical(rows_of_trials | {"side": side}))} if rows_of_trials else {}


def evaluated_roles():
    """Splits that an evaluation reads."""
    if TASK.scoring_log:
        roles = TASK.splits if TASK.evaluated is None else TASK.evaluated
        return [role for role in (*roles, "holdout") if role in SPLITS]
    options = config["evaluation"]
    local = options.get("harness", {}).get("local", [])
    return sorted(
        {
            *local,
            *options["generation"].get("roles", []),
        }
    )


def evaluated(cell, file):
    """A file of the cell's evaluation in each template, the experiment's own first."""
    paths = [(f"{folder}/{cell}", file) for folder in EVALUATIONS.values()]
    return paths if len(paths) > 1 else paths[0]


def evaluation_config(template):
    """What an evaluation in `template` depends on."""
    options = {key: config["evaluation"][key] for key in ("scoring", "generation")}
    return block("max_length", template=template, roles=evaluated_roles(), **options)


def model_of(cell):
    folder = {"original": "models/target", "retrained": "models/retrained"}.get(
        cell, f"unlearned/{cell}"
    )
    return folder, "checkpoint"


def candidate_vectors():
    """Candidates that answers are compared with, and the model that embeds both, if the task has them."""
    if "embedder" not in TASK.evaluation:
        return {}
    vectors = {"candidates": ("evaluations/candidates", "vectors.safetensors")}
    return vectors | helper_models("embedder")


def reference_scores():
    """Scores of the retrained model, for metrics that compare with it."""
    if "retrained" not in config["models"]:
        return {}
    return {"reference": evaluated("retrained", "tokens.parquet")}


def helper_models(*names):
    """The embedder and the classifier, as far as the experiment has them."""
    return {name: (f"models/{name}", "model") for name in names if name in config["evaluation"]}


def suite_options():
    """What a suite's evaluation depends on; the classifier and the embedder are inputs of their own."""
    return {
        key: config["evaluation"][key]
        for key in ("generation", "harness")
        if key in config["evaluation"]
    }


def harness_files():
    """Prompts of the harness tasks that read a local file: package data, and so part of the code's identity."""
    return [
        f"wagle/assets/harness/{task}.yaml"
        for task in suite_options().get("harness", {}).get("local", [])
    ]


# --- inputs and params of paper.smk ---


EXAMPLE_CELLS = [cell.id for cell in grid.example_cells(config)]


def example_names():
    """Answers of each example cell, in the order of the cells."""
    return [(f"evaluations/{cell}", "generations.jsonl") for cell in EXAMPLE_CELLS]


def figure_module(wildcards):
    return figures.module_name(wildcards.figure, FIGURES[wildcards.figure])


def figure_inputs(wildcards):
    options = FIGURES[wildcards.figure]
    return inputs(
        **{
            name: list(files)
            for name, files in figures.load(wildcards.figure, options)
            .inputs(config, options)
            .items()
        }
    )


def figure_params(wildcards):
    """Which cells or masks a figure shows."""
    options = FIGURES[wildcards.figure]
    return canonical(figures.load(wildcards.figure, options).params(config, options))


def density_options():
    """The masks whose densities claims compare: those of the density figures."""
    return next(
        (FIGURES[name] for name in ("density_module", "density_layer") if name in FIGURES),
        {"selections": []},
    )


def claim_cells():
    """Cells that claims compare: those of the main table, and those of the ratio sweeps."""
    sweeps = [
        cell.id
        for name in ("sparsity_sweep", "ratio_sweep")
        for cell in figures.cells_of(config, name)
    ]
    table = [cell.id for cell in grid.table_cells(config)]
    return {
        "table": table,
        "sweeps": list(dict.fromkeys(sweeps)),
        "rows": list(dict.fromkeys([*table, *sweeps])),
    }


def row_values(names):
    """Per-row values of each cell, in the order of the cells' names."""
    return [(f"metrics/{name}", "rows.json") for name in names]


def timing_jobs():
    """Records of the jobs behind each selection of the main table, by stage: what Table 4 adds up."""
    jobs = {}
    for cell in grid.table_cells(config):
        if cell.method in cells.BASELINES:
            continue
        stages = jobs.setdefault(cell.selection, {"unlearn": []})
        stages["unlearn"].append(f"{R}/unlearned/{cell.id}/manifest.json")
        if not cell.has_mask:
            continue
        draw, needed = grid.draw_of(config, cell), grid.needs(config, cell.selection)
        name = cells.selection_id(cell.selection, cell.gamma)
        folders = {
            "score": [f"scores/{name}/{draw.name}"],
            "mask": [grid.mask_folder(config, cell)],
            "gradients": [draw.folder(side) for side in ("forget", "retain") if side in needed],
            "activations": [draw.folder("activations")] * ("activations" in needed),
        }
        for stage, paths in folders.items():
            known = stages.setdefault(stage, [])
            known += [
                path
                for path in (f"{R}/{folder}/manifest.json" for folder in paths)
                if path not in known
            ]
    return jobs


def timing_inputs():
    return list(
        dict.fromkeys(
            path for stages in timing_jobs().values() for paths in stages.values() for path in paths
        )
    )


def published_files():
    """The paper's own cells of the main table, where the task has such a file: package data."""
    return [f"wagle/assets/published/{TASK.published}"] if TASK.published else []


def report_params():
    """What the report says besides its files."""
    return {
        "experiment": config["experiment"],
        "task": config["task"],
        "about": experiment.about(config),
        "protocols": PROTOCOLS,
        "captions": {
            name: figures.load(name, options).CAPTION for name, options in FIGURES.items()
        },
    }
