# WMDP, WHP and DETOX: benchmarks and generated texts of each model (GPU), then metrics as functions of those (CPU).


rule classifier:
    input:
        embedder=EMBEDDER,
        rows=rows("toxicity_labels") if CLASSIFIER and CLASSIFIER["source"] == "probe" else [],
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
        config=fixed(canonical(CLASSIFIER)),
        code=code("classifier.py"),
    script:
        "../workflow/scripts/classifier.py"


rule evaluate:
    input:
        model=lambda w: model_of(w.cell),
        rows=rows(*EVALUATED),
        classifier=artifact("models/classifier", "model") if CLASSIFIER else [],
        embedder=EMBEDDER,
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
        log=lambda w: artifact(f"evaluations/{w.cell}", "benchmarks.json", "generations.jsonl"),
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
        task=TASK,
        code=code("metrics_suite.py"),
    script:
        "../workflow/scripts/metrics_suite.py"
