# Shared by all the rules - validated config, paths, identities, input functions, resources. Only wagle's light modules.
import fnmatch
import os
import re

from wagle import config as experiment
from wagle import cells, grid, identity
from wagle.errors import WagleError
from wagle.identity import canonical

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
EVALUATED = [*PERTURBED, *(["holdout"] if "holdout" in SPLITS else [])]
FIGURES = ["sparsity_sweep", "density_module", "ratio_sweep", "density_layer"]


# A run whose config or code is edited while its jobs are queued must not mix versions: jobs inherit the first
# fingerprint and compare. Each job also checks the code of its own rule when it starts (wagle/provenance.py).
FINGERPRINT = identity.fingerprint(config)
if os.environ.setdefault("WAGLE_FINGERPRINT", FINGERPRINT) != FINGERPRINT:
    raise WorkflowError(
        "The config or the code changed while this run was under way. Expected: both as they were when it started. "
        "To do: let it stop, then start Snakemake again; it re-plans with the new ones."
    )

# Local runs start small jobs in a warm process (wagle/warm.py); WAGLE_WARM=0 switches that off.
if os.environ.setdefault("WAGLE_WARM", str(os.getpid())) == "0":
    os.environ.pop("WAGLE_WARM")


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
    return identity.code_identity(f"workflow/scripts/{script}", *modules)


def block(*keys, **more):
    """Canonical text of some of the config's blocks: what of the config a rule depends on."""
    return canonical({key: config[key] for key in keys} | more)


def fixed(text):
    """`text` as a param: through a function, or Snakemake would take its braces for wildcards."""
    return lambda wildcards: text


def artifact(folder, *names):
    """Files of another job's folder and that job's record, which the job that reads them compares with the files."""
    return [f"{R}/{folder}/{name}" for name in names] + [f"{R}/{folder}/manifest.json"]


def rows(*roles):
    return [path for role in roles for path in artifact(f"data/{role}", "rows.jsonl")]


def resource(stage, kind):
    """A stage's memory (MB) or minutes, from the model's size and the experiment's factors; grows with each attempt."""
    options = config["resources"]

    def value(wildcards, attempt):
        if kind == "mem_mb":
            per_weight = options["bytes_per_weight"][stage]
            return int(attempt * (options["base_mb"] + per_weight * options["parameters"] / 2**20))
        return int(attempt * options["minutes"][stage])

    return value


def gpus(stage):
    return config["resources"]["gpu"] if stage in config["resources"]["gpu_stages"] else 0


THREADS = config["resources"]["threads"]


# --- inputs and params of models.smk ---


def training_rows(wildcards):
    replay = config["models"]["finetune"].get("replay", [])
    sets = ["forget", "retain"] if wildcards.model == "target" else ["retain"]
    return rows(*sets, *replay)


def model_source(wildcards):
    return config["models"][wildcards.model]["source"]


# --- inputs and params of attribution.smk ---


def gradient_rows(wildcards):
    """Retain rows are drawn to match the number of forget rows; refusals matter only as labels of the forget loss."""
    if wildcards.side == "retain":
        return rows("forget", "retain")
    return rows("forget", *(["refusals"] if config["attribution"]["forget_labels"] == "refusal" else []))


def attribution_config(*keys):
    return block("template", "max_length", attribution={key: config["attribution"][key] for key in keys})


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
    method = {key: value for key, value in options.items() if key not in ("ratio", "module")}
    if "lr" in selection:
        method["lr"] = selection["lr"]
    adapters = {key: selection[key] for key in ("r", "alpha", "dropout", "target_modules") if key in selection}
    return block("template", "max_length", "unlearning", method=method, adapters=adapters)


# --- inputs and params of evaluation.smk ---


def model_of(cell):
    folder = {"original": "models/target", "retrained": "models/retrained"}.get(cell, f"unlearned/{cell}")
    return artifact(folder, "checkpoint")


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


def figure_inputs(wildcards):
    return density_inputs() if wildcards.figure.startswith("density") else COLLECTED


def figure_params(wildcards):
    """Which cells or masks a figure shows."""
    if wildcards.figure.startswith("density"):
        return canonical(config["figures"].get("density", {}))
    cells = [cell.id for cell in grid.sweep_cells(config, wildcards.figure)]
    return canonical({"cells": cells} | config["figures"].get(wildcards.figure, {}))
