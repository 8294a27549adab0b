# One job per cell: the target model, a method, and a mask, adapters or neither.


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
        gpu=unlearn_gpus,
        nodes=1,
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
