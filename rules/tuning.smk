# Tuning: trials of every method and selection, one pick for each, and the tables of all of it. Included with a tuning block.
# The DAG is static: a tuned cell's path says "tuned", and its jobs read ratio and rate from the pick (docs/tuning.md).


use rule metrics as trial_metrics with:
    output:
        metrics=f"{R}/tuning/metrics/{{cell}}/metrics.json",
        rows=f"{R}/tuning/metrics/{{cell}}/rows.json",
        manifest=f"{R}/tuning/metrics/{{cell}}/manifest.json",
    log:
        f"{R}/logs/trial_metrics/{{cell}}.log",
    benchmark:
        f"{R}/benchmarks/trial_metrics/{{cell}}.tsv"
    params:
        **row_side("trials"),
        code=code("metrics.py", TASK_MODULE),


rule pick:
    input:
        unpack(pick_inputs),
    output:
        point=f"{R}/tuning/picks/{{method}}/{{selection}}/point.json",
        manifest=f"{R}/tuning/picks/{{method}}/{{selection}}/manifest.json",
    log:
        f"{R}/logs/pick/{{method}}/{{selection}}.log",
    benchmark:
        f"{R}/benchmarks/pick/{{method}}/{{selection}}.tsv"
    localrule: True
    conda:
        "../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        rule=fixed(canonical(config["tuning"]["rule"])),
        trials=lambda w: canonical([trial.id for trial in trials_of(w)]),
        code=code("pick.py"),
    script:
        "../workflow/scripts/pick.py"


use rule mask as tuned_mask with:
    input:
        unpack(tuned_mask_inputs),
    output:
        mask=f"{R}/masks/{{selection}}/{{draw}}/tuned/{{method}}/mask.safetensors",
        density=f"{R}/masks/{{selection}}/{{draw}}/tuned/{{method}}/density.csv",
        manifest=f"{R}/masks/{{selection}}/{{draw}}/tuned/{{method}}/manifest.json",
    log:
        f"{R}/logs/mask/{{selection}}/{{draw}}/tuned/{{method}}.log",
    benchmark:
        f"{R}/benchmarks/mask/{{selection}}/{{draw}}/tuned/{{method}}.tsv"


rule tuning_tables:
    input:
        unpack(tuning_inputs),
    output:
        trials=report(
            f"{R}/tables/tuning/trials.csv",
            caption="../workflow/report/tuning.rst",
            category="Tuning",
            labels={"table": "every trial"},
        ),
        trials_markdown=f"{R}/tables/tuning/trials.md",
        trials_latex=f"{R}/tables/tuning/trials.tex",
        points=report(
            f"{R}/tables/tuning/points.csv",
            caption="../workflow/report/tuning.rst",
            category="Tuning",
            labels={"table": "picked points"},
        ),
        points_markdown=f"{R}/tables/tuning/points.md",
        points_latex=f"{R}/tables/tuning/points.tex",
        matched=report(
            f"{R}/tables/tuning/matched.csv",
            caption="../workflow/report/tuning.rst",
            category="Tuning",
            labels={"table": "at equal efficacy or utility"},
        ),
        matched_markdown=f"{R}/tables/tuning/matched.md",
        matched_latex=f"{R}/tables/tuning/matched.tex",
        manifest=f"{R}/tables/tuning/manifest.json",
    log:
        f"{R}/logs/tuning_tables.log",
    benchmark:
        f"{R}/benchmarks/tuning_tables.tsv"
    localrule: True
    conda:
        "../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        rule=fixed(canonical(config["tuning"]["rule"])),
        trials=fixed(canonical(TRIALS)),
        claims=fixed(canonical(CLAIMS)),
        code=code("tuning_tables.py"),
    script:
        "../workflow/scripts/tuning_tables.py"
