# TOFU and your own rows: one scoring pass and one round of generation per model (GPU), then metrics as functions of those logs (CPU).


rule candidates:
    input:
        unpack(
            fixed_inputs(
                **helper_models("embedder"), **rows("forget_perturbed", "retain_perturbed")
            )
        ),
    output:
        vectors=f"{R}/evaluations/candidates/vectors.safetensors",
        manifest=f"{R}/evaluations/candidates/manifest.json",
    log:
        f"{R}/logs/candidates.log",
    benchmark:
        f"{R}/benchmarks/candidates.tsv"
    conda:
        "../environment.yml"
    threads: THREADS
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        code=code("candidates.py"),
    script:
        "../workflow/scripts/candidates.py"


rule evaluate:
    input:
        unpack(
            lambda w: inputs(
                model=model_of(w.cell),
                **candidate_vectors(),
                **rows(*evaluated_roles()),
            )
        ),
    output:
        tokens=f"{R}/evaluations/{{cell}}/tokens.parquet",
        generations=f"{R}/evaluations/{{cell}}/generations.jsonl",
        manifest=f"{R}/evaluations/{{cell}}/manifest.json",
    log:
        f"{R}/logs/evaluate/{{cell}}.log",
    benchmark:
        f"{R}/benchmarks/evaluate/{{cell}}.tsv"
    conda:
        "../environment.yml"
    threads: THREADS
    resources:
        mem_mb=resource("evaluate", "mem_mb"),
        runtime=resource("evaluate", "minutes"),
        gpu=gpus("evaluate"),
    params:
        config=fixed(evaluation_config(config["template"])),
        code=code("evaluate.py"),
    script:
        "../workflow/scripts/evaluate.py"


# Protocols with prompts of their own read another log of the same model; the path says which template.
if OTHER_TEMPLATES:

    use rule evaluate as evaluate_in_another_template with:
        output:
            tokens=f"{R}/evaluations/{{template}}/{{cell}}/tokens.parquet",
            generations=f"{R}/evaluations/{{template}}/{{cell}}/generations.jsonl",
            manifest=f"{R}/evaluations/{{template}}/{{cell}}/manifest.json",
        log:
            f"{R}/logs/evaluate/{{template}}/{{cell}}.log",
        benchmark:
            f"{R}/benchmarks/evaluate/{{template}}/{{cell}}.tsv"
        wildcard_constraints:
            template="|".join(OTHER_TEMPLATES),
        params:
            config=lambda w: evaluation_config(OTHER_TEMPLATES[w.template]),
            code=code("evaluate.py"),


rule metrics:
    input:
        unpack(
            lambda w: inputs(
                tokens=evaluated(w.cell, "tokens.parquet"),
                generations=evaluated(w.cell, "generations.jsonl"),
                **reference_scores(),
            )
        ),
    output:
        metrics=f"{R}/metrics/{{cell}}/metrics.json",
        rows=f"{R}/metrics/{{cell}}/rows.json",
        manifest=f"{R}/metrics/{{cell}}/manifest.json",
    log:
        f"{R}/logs/metrics/{{cell}}.log",
    benchmark:
        f"{R}/benchmarks/metrics/{{cell}}.tsv"
    group:
        "metrics"
    conda:
        "../environment.yml"
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        **row_side("reported"),
        task=config["task"],
        protocols=fixed(canonical([[p, templates.of_protocol(config, p)] for p in PROTOCOLS])),
        templates=fixed(canonical(list(EVALUATIONS))),
        code=code("metrics.py", TASK_MODULE),
    script:
        "../workflow/scripts/metrics.py"
