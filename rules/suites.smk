# WMDP, WHP and DETOX: benchmarks and generated texts of each model (GPU), then metrics as functions of those (CPU).


rule classifier:
    input:
        unpack(
            fixed_inputs(
                **(
                    helper_models("embedder") | rows("toxicity_labels")
                    if CLASSIFIER and CLASSIFIER["source"] == "probe"
                    else {}
                )
            )
        ),
    output:
        model=directory(f"{R}/models/classifier/model"),
        manifest=f"{R}/models/classifier/manifest.json",
    log:
        f"{R}/logs/classifier.log",
    benchmark:
        f"{R}/benchmarks/classifier.tsv"
    localrule: True
    conda:
        "../environment.yml"
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        config=lambda w: helper_block("classifier"),
        code=code("classifier.py"),
    script:
        "../workflow/scripts/classifier.py"


rule evaluate:
    input:
        unpack(
            lambda w: inputs(
                model=model_of(w.cell),
                **helper_models("classifier", "embedder"),
                **rows(*evaluated_roles()),
            )
        ),
    output:
        benchmarks=f"{R}/evaluations/{{cell}}/benchmarks.json",
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
        config=fixed(block("template", evaluation=suite_options())),
        code=code("evaluate_suite.py", *harness_files()),
    script:
        "../workflow/scripts/evaluate_suite.py"


rule metrics:
    input:
        unpack(
            lambda w: inputs(
                benchmarks=(f"evaluations/{w.cell}", "benchmarks.json"),
                generations=(f"evaluations/{w.cell}", "generations.jsonl"),
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
        task=config["task"],
        protocols=fixed(canonical([[p, None] for p in PROTOCOLS])),
        templates=fixed(canonical([None])),
        code=code("metrics.py", TASK_MODULE),
    script:
        "../workflow/scripts/metrics.py"
