# One job per cell: the target model, a method, and a mask, adapters or neither.

import fnmatch
import re


def the_cell(wildcards):
    return grid.Cell.parse(wildcards.cell)


def objective_of(wildcards):
    """Name of the code behind the cell's method."""
    return experiment.objective_module(the_cell(wildcards).method, METHODS[the_cell(wildcards).method])


def mask_of(cell):
    selection = grid.selection_id(cell.selection, cell.gamma)
    return f"masks/{selection}/{grid.draw(config, cell.selection, cell.seed)}/ratio-{grid.ratio_id(cell.ratio)}"


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


KEPT = [cell.id for cell in CELLS for pattern in config["keep"] if fnmatch.fnmatch(cell.id, pattern)]


# Checkpoints are large and have one reader, the evaluation; `keep` names those that stay. A wildcard cannot carry temp()
# for some cells only, so there are two rules with one body; which one makes a cell is decided by its name alone.
rule unlearn:
    input:
        unpack(unlearn_inputs),
    output:
        checkpoint=temp(directory(f"{R}/unlearned/{{cell}}/checkpoint")),
        log=f"{R}/unlearned/{{cell}}/train.jsonl",
        moved=f"{R}/unlearned/{{cell}}/moved.json",
        manifest=f"{R}/unlearned/{{cell}}/manifest.json",
    log:
        f"{R}/logs/unlearn/{{cell}}.log",
    benchmark:
        f"{R}/benchmarks/unlearn/{{cell}}.tsv"
    conda:
        "../environment.yml"
    threads: THREADS
    resources:
        mem_mb=resource("unlearn", "mem_mb"),
        runtime=resource("unlearn", "minutes"),
        gpu=gpus("unlearn"),
    params:
        config=unlearn_config,
        objective=objective_of,
        code=lambda w: code("unlearn.py", objective_of(w)),
    script:
        "../workflow/scripts/unlearn.py"


if KEPT:

    use rule unlearn as unlearn_and_keep with:
        output:
            checkpoint=directory(f"{R}/unlearned/{{cell}}/checkpoint"),
            log=f"{R}/unlearned/{{cell}}/train.jsonl",
            moved=f"{R}/unlearned/{{cell}}/moved.json",
            manifest=f"{R}/unlearned/{{cell}}/manifest.json",
        wildcard_constraints:
            cell="|".join(map(re.escape, KEPT)),

    ruleorder: unlearn_and_keep > unlearn
