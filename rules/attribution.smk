# Gradients and activations of the target model, scores from them, masks from scores.


rule gradients:
    input:
        unpack(gradient_inputs),
    output:
        gradients=f"{R}/gradients/{{side}}/{{draw}}/gradients.safetensors",
        stats=f"{R}/gradients/{{side}}/{{draw}}/stats.json",
        manifest=f"{R}/gradients/{{side}}/{{draw}}/manifest.json",
    log:
        f"{R}/logs/gradients/{{side}}/{{draw}}.log",
    benchmark:
        f"{R}/benchmarks/gradients/{{side}}/{{draw}}.tsv"
    conda:
        "../environment.yml"
    threads: THREADS
    resources:
        mem_mb=resource("gradients", "mem_mb"),
        runtime=resource("gradients", "minutes"),
        gpu=gpus("gradients"),
    params:
        config=gradient_config,
        code=code("gradients.py"),
    script:
        "../workflow/scripts/gradients.py"


rule activations:
    input:
        unpack(fixed_inputs(model=TARGET, **rows("forget"))),
    output:
        activations=f"{R}/activations/{{draw}}/activations.safetensors",
        manifest=f"{R}/activations/{{draw}}/manifest.json",
    log:
        f"{R}/logs/activations/{{draw}}.log",
    benchmark:
        f"{R}/benchmarks/activations/{{draw}}.tsv"
    conda:
        "../environment.yml"
    threads: THREADS
    resources:
        mem_mb=resource("gradients", "mem_mb"),
        runtime=resource("gradients", "minutes"),
        gpu=gpus("gradients"),
    params:
        config=activation_config,
        code=code("activations.py"),
    script:
        "../workflow/scripts/activations.py"


rule score:
    input:
        unpack(score_inputs),
    output:
        scores=f"{R}/scores/{{selection}}/{{draw}}/scores.safetensors",
        stats=f"{R}/scores/{{selection}}/{{draw}}/stats.json",
        manifest=f"{R}/scores/{{selection}}/{{draw}}/manifest.json",
    log:
        f"{R}/logs/score/{{selection}}/{{draw}}.log",
    benchmark:
        f"{R}/benchmarks/score/{{selection}}/{{draw}}.tsv"
    conda:
        "../environment.yml"
    threads: THREADS
    resources:
        mem_mb=resource("score", "mem_mb"),
        runtime=resource("score", "minutes"),
    params:
        implementation=lambda w: score_module(w.selection),
        options=score_options,
        seed=lambda w: draws.Draw.parse(w.draw).seed or 0,
        code=lambda w: code("score.py", score_module(w.selection)),
    script:
        "../workflow/scripts/score.py"


rule mask:
    input:
        unpack(mask_inputs),
    output:
        mask=f"{R}/masks/{{selection}}/{{draw}}/ratio-{{ratio}}/mask.safetensors",
        density=f"{R}/masks/{{selection}}/{{draw}}/ratio-{{ratio}}/density.csv",
        manifest=f"{R}/masks/{{selection}}/{{draw}}/ratio-{{ratio}}/manifest.json",
    log:
        f"{R}/logs/mask/{{selection}}/{{draw}}/ratio-{{ratio}}.log",
    benchmark:
        f"{R}/benchmarks/mask/{{selection}}/{{draw}}/ratio-{{ratio}}.tsv"
    conda:
        "../environment.yml"
    threads: THREADS
    resources:
        mem_mb=resource("mask", "mem_mb"),
        runtime=resource("mask", "minutes"),
    params:
        variant=lambda w: draws.Draw.parse(w.draw).variant,
        select=ranking,
        budget=budget_rule,
        code=mask_code,
    script:
        "../workflow/scripts/mask.py"
