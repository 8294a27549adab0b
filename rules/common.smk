# Shared by all the rules - validated config, paths, identities, input functions, resources. Only wagle's light modules.
import fnmatch
import os
import re

from wagle.errors import WagleError
from wagle.experiment import cells, claims_file, grid, splits
from wagle.experiment import config as experiment
from wagle.runtime import handover, identity
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
except WagleError as error:
    raise WorkflowError(str(error))

R = f"results/{config['experiment']}"
SPLITS = sorted(config["data"]["splits"])
PERTURBED = ["forget_perturbed", "retain_perturbed", "real_authors", "world_facts"]
METHODS, SELECTIONS = config["methods"], config["selections"]
PROTOCOLS = config["evaluation"]["protocols"]
KEPT = [cell.id for cell in CELLS for pattern in config["keep"] if fnmatch.fnmatch(cell.id, pattern)]
TASK = config["task"]
CLASSIFIER = config["evaluation"].get("classifier")
FIGURES = ["sparsity_sweep", "density_module", "gamma_sweep", "ratio_sweep", "density_layer", "precision"]
TABLE_ENDS = [".csv", "_long.csv", ".md", ".tex", "_published.csv", "_published.md"]
CLAIMS = claims_file.claims(TASK)
TABLE = {"tofu": "table1", "wmdp": "table2", "whp": "table3", "detox": "table3"}[TASK]


# A run whose config or code is edited while its jobs are queued must not mix versions: jobs inherit the first
# fingerprint and compare. Each job also checks the code of its own rule when it starts (wagle/runtime/records.py).
OUTSIDE = [options["module"] for group in (METHODS, SELECTIONS) for options in group.values() if "module" in options]
if not handover.same_run(config["experiment"], identity.fingerprint(config, *OUTSIDE, hosted=HOSTED)):
    raise WorkflowError(
        "The config or the code changed while this run was under way. Expected: both as they were when it started. "
        "To do: let it stop, then start Snakemake again; it re-plans with the new ones."
    )


wildcard_constraints:
    role="[a-z_]+",
    model="target|retrained",
    side="forget|retain",
    draw=r"all|seed-\d+",
    selection=r"[\w-]+(@gamma-[^/]+)?",
    ratio=r"[0-9.e-]+",
    cell=r"original|retrained|[^/]+/[^/]+/ratio-[^/]+/seed-\d+",
    protocol="|".join(PROTOCOLS),


def code(script, *modules):
    """Identity of a rule's code: its script, everything that imports, and modules that it loads by name."""
    if HOSTED:
        workflow.source_path(f"../workflow/scripts/{script}")
    return identity.code_identity(f"workflow/scripts/{script}", *modules)


def block(*keys, **more):
    """Canonical text of some of the config's blocks: what of the config a rule depends on."""
    return canonical({key: config[key] for key in keys} | more)


def encoding():
    """How rows become tokens: part of the identity of every job that reads rows with a model."""
    return {key: config[key] for key in ("template", "max_length", "text_padding") if key in config}


def fixed(text):
    """`text` as a param: through a function, or Snakemake would take its braces for wildcards."""
    return lambda wildcards: text


def artifact(folder, *names):
    """Files of another job's folder and that job's record, which the job that reads them compares with the files."""
    return [f"{R}/{folder}/{name}" for name in names] + [f"{R}/{folder}/manifest.json"]


def rows(*roles):
    return [path for role in roles for path in artifact(f"data/{role}", "rows.jsonl")]


def evaluated_splits():
    """Splits that an evaluation reads."""
    if TASK == "tofu":
        return [*PERTURBED, *(["holdout"] if "holdout" in SPLITS else [])]
    options = config["evaluation"]
    local = options.get("harness", {}).get("local", [])
    return sorted({*local, *options["generation"].get("roles", []), *(["wikitext"] if "perplexity" in options else [])})


EVALUATED = evaluated_splits()
EMBEDDER = artifact("models/embedder", "model") if "embedder" in config["evaluation"] else []


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


THREADS = config["resources"]["threads"]


# --- inputs and params of models.smk ---


def base_rows():
    """Only a scratch base reads rows: what its tokenizer and its general knowledge are made from."""
    base = config["models"].get("base", {})
    return rows(*sorted({*base.get("corpus", []), *base.get("pretrain", {}).get("roles", [])}))


def training_rows(wildcards):
    replay = config["models"]["finetune"].get("replay", [])
    sets = ["forget", "retain"] if wildcards.model == "target" else ["retain"]
    return rows(*sets, *replay)


def finetune_config():
    options = {key: value for key, value in config["models"]["finetune"].items() if key != "replay"}
    return block(encoding=encoding(), finetune=options)


def finetune_gpus(wildcards):
    if model_source(wildcards) != "finetune":
        return gpus("finetune")
    return gpus("finetune", sharded=not config["models"]["finetune"].get("adapters"))


def model_source(wildcards):
    return config["models"][wildcards.model]["source"]


# --- inputs and params of attribution.smk ---


def gradient_rows(wildcards):
    """Retain rows are drawn to match the number of forget rows; refusals matter only as labels of the forget loss."""
    if wildcards.side == "retain":
        return rows("forget", "retain")
    return rows("forget", *(["refusals"] if config["attribution"]["forget_labels"] == "refusal" else []))


def attribution_config(*keys):
    return block(encoding=encoding(), attribution={key: config["attribution"][key] for key in keys})


def name_of(selection):
    return selection.partition("@")[0]


def score_inputs(wildcards):
    """Only what this score reads: magnitude and random wait for no gradient and need no GPU."""
    needed = set(grid.needs(config, name_of(wildcards.selection)))
    result = {"model": TARGET}
    if "forget" in needed:
        result["forget"] = artifact("gradients/forget/all", "gradients.safetensors")
    if "retain" in needed:
        result["retain"] = artifact(f"gradients/retain/{wildcards.draw}", "gradients.safetensors")
    if "activations" in needed:
        result["activations"] = artifact(f"activations/{wildcards.draw}", "activations.safetensors")
    return result


def score_module(selection):
    return experiment.score_module(name_of(selection), SELECTIONS[name_of(selection)])


# --- inputs and params of unlearning.smk ---


def the_cell(wildcards):
    return cells.Cell.parse(wildcards.cell)


def objective_of(wildcards):
    """Name of the code behind the cell's method."""
    return experiment.objective_module(the_cell(wildcards).method, METHODS[the_cell(wildcards).method])


def unlearn_gpus(wildcards):
    return gpus("unlearn", sharded=the_cell(wildcards).selection != "lora")


def mask_of(cell):
    selection = cells.selection_id(cell.selection, cell.gamma)
    return f"masks/{selection}/{grid.draw(config, cell.selection, cell.seed)}/ratio-{cells.ratio_id(cell.ratio)}"


def unlearn_inputs(wildcards):
    cell = the_cell(wildcards)
    refusals = ["refusals"] if identity.constant(objective_of(wildcards), "FORGET_LABELS") == "refusal" else []
    result = {"model": TARGET, "rows": rows("forget", "retain", *refusals)}
    if cell.has_mask:
        result["mask"] = artifact(mask_of(cell), "mask.safetensors")
    return result


def unlearn_config(wildcards):
    """The parts of the config that this very cell depends on: its own method, and LoRA's options only for LoRA."""
    cell = the_cell(wildcards)
    options = METHODS[cell.method]
    selection = SELECTIONS[cell.selection]
    overrides = {key: options[key] for key in ("precision", "autocast") if key in options}
    method = {key: value for key, value in options.items() if key not in ("ratio", "module", *overrides)}
    if "lr" in selection:
        method["lr"] = selection["lr"]
    adapters = {key: selection[key] for key in ("r", "alpha", "dropout", "target_modules") if key in selection}
    return block("unlearning", encoding=encoding(), method=method, adapters=adapters, overrides=overrides)


# --- inputs and params of evaluation.smk ---


def model_of(cell):
    folder = {"original": "models/target", "retrained": "models/retrained"}.get(cell, f"unlearned/{cell}")
    return artifact(folder, "checkpoint")


def suite_options():
    """What a suite's evaluation depends on; the classifier and the embedder are inputs of their own."""
    return {key: config["evaluation"][key] for key in ("generation", "harness", "perplexity") if key in config["evaluation"]}


def harness_files():
    """Prompts of the harness tasks that read a local file: package data, and so part of the code's identity."""
    return [f"wagle/assets/harness/{task}.yaml" for task in suite_options().get("harness", {}).get("local", [])]


# --- inputs and params of paper.smk ---


def density_inputs():
    """Masks of the density figures: every selection named there, at its ratio, the first seed's draw."""
    figure = config["figures"].get("density")
    if not figure:
        return []
    paths = []
    for selection in figure["selections"]:
        gamma = SELECTIONS[selection].get("gamma")
        draw = grid.draw(config, selection, config["seeds"][0])
        folder = f"masks/{cells.selection_id(selection, gamma)}/{draw}/ratio-{cells.ratio_id(figure['ratio'])}"
        paths += artifact(folder, "density.csv")
    return paths


UTILITY = {"tofu": "UT Avg", "wmdp": "MMLU"}.get(TASK, "zero-shot Acc")  # what figures and claims call utility
EXAMPLE_CELLS = [cell.id for cell in grid.example_cells(config)]


def gamma_norms():
    """Retain gradients' statistics behind the gamma figure, whose norm is the figure's GN."""
    figure = config["figures"]["gamma_sweep"]
    draws = {grid.draw(config, figure["selection"], seed) for seed in figure.get("seeds", config["seeds"])}
    return [path for draw in sorted(draws) for path in artifact(f"gradients/retain/{draw}", "stats.json")]


def figure_inputs(wildcards):
    if wildcards.figure.startswith("density"):
        return density_inputs()
    if wildcards.figure == "gamma_sweep":
        return COLLECTED + gamma_norms()
    if wildcards.figure == "precision":
        return COLLECTED + [p for c in grid.precision_cells(config) for p in artifact(f"unlearned/{c.id}", "moved.json")]
    return COLLECTED


def figure_params(wildcards):
    """Which cells or masks a figure shows."""
    name = wildcards.figure
    if name.startswith("density"):
        return canonical(config["figures"].get("density", {}))
    show = {"utility": UTILITY} | config["figures"].get(name, {})
    if name == "precision":
        methods = {m: METHODS[m] for m in show["methods"]}
        show["of"] = {
            m: {
                "objective": experiment.objective_module(m, o).rpartition(".")[2],
                "precision": o.get("precision", config["unlearning"]["precision"]),
                "lr": o["lr"],
            }
            for m, o in methods.items()
        }
        return canonical(show | {"cells": [cell.id for cell in grid.precision_cells(config)]})
    return canonical(show | {"cells": [cell.id for cell in grid.sweep_cells(config, name)]})


def claim_cells():
    """Cells that claims compare: those of the main table, and those of the ratio sweeps."""
    sweeps = [cell.id for name in ("sparsity_sweep", "ratio_sweep") for cell in grid.sweep_cells(config, name)]
    return {"table": [cell.id for cell in grid.table_cells(config)], "sweeps": list(dict.fromkeys(sweeps))}


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
        draw, needed = grid.draw(config, cell.selection, cell.seed), grid.needs(config, cell.selection)
        name = cells.selection_id(cell.selection, cell.gamma)
        folders = {"score": [f"scores/{name}/{draw}"], "mask": [mask_of(cell)], "gradients": [], "activations": []}
        folders["gradients"] += ["gradients/forget/all"] * ("forget" in needed)
        folders["gradients"] += [f"gradients/retain/{draw}"] * ("retain" in needed)
        folders["activations"] += [f"activations/{draw}"] * ("activations" in needed)
        for stage, paths in folders.items():
            known = stages.setdefault(stage, [])
            known += [path for path in (f"{R}/{folder}/manifest.json" for folder in paths) if path not in known]
    return jobs


def timing_inputs():
    return list(dict.fromkeys(path for stages in timing_jobs().values() for paths in stages.values() for path in paths))
