# What some scores read besides gradients: squared gradients of single rows, and curvatures of the retain loss.


rule row_gradients:
    input:
        unpack(gradient_inputs),
    output:
        squares=f"{R}/row_gradients/{{side}}/{{draw}}/squares.safetensors",
        variance=f"{R}/row_gradients/{{side}}/{{draw}}/variance.safetensors",
        stats=f"{R}/row_gradients/{{side}}/{{draw}}/stats.json",
        manifest=f"{R}/row_gradients/{{side}}/{{draw}}/manifest.json",
    log:
        f"{R}/logs/row_gradients/{{side}}/{{draw}}.log",
    benchmark:
        f"{R}/benchmarks/row_gradients/{{side}}/{{draw}}.tsv"
    conda:
        "../environment.yml"
    threads: THREADS
    resources:
        mem_mb=resource("gradients", "mem_mb", times=2),
        runtime=resource("gradients", "minutes", times=4),
        gpu=gpus("gradients"),
    params:
        config=row_gradient_config,
        code=code("row_gradients.py"),
    script:
        "../workflow/scripts/row_gradients.py"


rule curvature:
    input:
        unpack(fixed_inputs(model=TARGET, **rows("forget", "retain"))),
    output:
        curvature=f"{R}/curvature/{{estimator}}/{{draw}}/curvature.safetensors",
        stats=f"{R}/curvature/{{estimator}}/{{draw}}/stats.json",
        manifest=f"{R}/curvature/{{estimator}}/{{draw}}/manifest.json",
    log:
        f"{R}/logs/curvature/{{estimator}}/{{draw}}.log",
    benchmark:
        f"{R}/benchmarks/curvature/{{estimator}}/{{draw}}.tsv"
    conda:
        "../environment.yml"
    threads: THREADS
    resources:
        mem_mb=resource("gradients", "mem_mb", times=2),
        runtime=resource("gradients", "minutes", times=4),
        gpu=gpus("gradients"),
    params:
        implementation=estimator_module,
        config=curvature_config,
        code=lambda w: code("curvature.py", estimator_module(w)),
    script:
        "../workflow/scripts/curvature.py"
