# What the whole experiment's records say of it, as a file. Not part of `all`: it reads every byte of the results once more.


rule audit:
    input:
        rules.all.input,
    output:
        config=f"{R}/audit/config.json",
        json=f"{R}/audit/audit.json",
        text=f"{R}/audit/audit.md",
        manifest=f"{R}/audit/manifest.json",
    log:
        f"{R}/logs/audit.log",
    benchmark:
        f"{R}/benchmarks/audit.tsv"
    localrule: True
    conda:
        "../environment.yml"
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        config=fixed(canonical(config)),
        code=code("audit.py"),
    script:
        "../workflow/scripts/audit.py"
