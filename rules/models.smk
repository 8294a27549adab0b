# Data splits and the three models without unlearning: base, target (fine-tuned on everything), retrained (on the retain set).


rule split:
    input:
        lambda w: splits.split_inputs(config, w.role),
    output:
        rows=f"{R}/data/{{role}}/rows.jsonl",
        manifest=f"{R}/data/{{role}}/manifest.json",
    log:
        f"{R}/logs/split/{{role}}.log",
    benchmark:
        f"{R}/benchmarks/split/{{role}}.tsv"
    localrule: True
    conda:
        "../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        data=lambda w: canonical(splits.split_identity(config, w.role)),
        code=lambda w: code("split.py", *splits.split_modules(config, w.role)),
    script:
        "../workflow/scripts/split.py"


rule check_data:
    input:
        unpack(fixed_inputs(**rows(*SPLITS))),
    output:
        check=f"{R}/data/check/check.json",
        manifest=f"{R}/data/check/manifest.json",
    log:
        f"{R}/logs/check_data.log",
    benchmark:
        f"{R}/benchmarks/check_data.tsv"
    localrule: True
    conda:
        "../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code("check_data.py"),
    script:
        "../workflow/scripts/check_data.py"


# ancient(): no model loads before the data passed its checks, but a changed row re-runs only what reads that split
CHECKED = ancient(f"{R}/data/check/check.json")


rule base:
    input:
        unpack(fixed_inputs(**rows(*base_roles()))),
        checked=CHECKED,
    output:
        checkpoint=directory(f"{R}/models/base/checkpoint"),
        manifest=f"{R}/models/base/manifest.json",
    log:
        f"{R}/logs/base.log",
    benchmark:
        f"{R}/benchmarks/base.tsv"
    conda:
        "../environment.yml"
    threads: THREADS
    resources:
        mem_mb=resource("finetune", "mem_mb"),
        runtime=resource("finetune", "minutes"),
        gpu=gpus("finetune"),
    params:
        config=lambda w: block(
            base=model_block("base"),
            encoding=official.encoding(config) if base_roles() else None,
            **chat_templates(),
        ),
        code=code("base.py"),
    script:
        "../workflow/scripts/base.py"


rule embedder:
    output:
        model=directory(f"{R}/models/embedder/model"),
        manifest=f"{R}/models/embedder/manifest.json",
    log:
        f"{R}/logs/embedder.log",
    benchmark:
        f"{R}/benchmarks/embedder.tsv"
    localrule: True
    conda:
        "../environment.yml"
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        config=lambda w: helper_block("embedder"),
        code=code("embedder.py"),
    script:
        "../workflow/scripts/embedder.py"


rule finetune:
    input:
        unpack(finetune_inputs),
        checked=CHECKED,
    output:
        checkpoint=directory(f"{R}/models/{{model}}/checkpoint"),
        manifest=f"{R}/models/{{model}}/manifest.json",
    log:
        f"{R}/logs/finetune/{{model}}.log",
    benchmark:
        f"{R}/benchmarks/finetune/{{model}}.tsv"
    conda:
        "../environment.yml"
    threads: THREADS
    resources:
        mem_mb=resource("finetune", "mem_mb"),
        runtime=resource("finetune", "minutes"),
        gpu=finetune_gpus,
        nodes=1,
    params:
        source=lambda w: canonical(model_block(w.model)),
        config=finetune_config,
        code=code("finetune.py", "wagle.objectives.finetune"),
    script:
        "../workflow/scripts/finetune.py"
