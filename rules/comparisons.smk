# Tables that compare curvature estimates and budget rules. Included with a block comparisons (docs/curvature.md, docs/budgets.md).


rule comparisons:
    input:
        unpack(comparison_inputs),
    output:
        **{
            name: report(
                f"{R}/tables/comparisons/{name}.csv",
                caption="../workflow/report/comparisons.rst",
                category="Comparisons",
                labels={"table": name},
            )
            for name in COMPARED
        },
        **{f"{name}_markdown": f"{R}/tables/comparisons/{name}.md" for name in COMPARED},
        **{f"{name}_latex": f"{R}/tables/comparisons/{name}.tex" for name in COMPARED},
        manifest=f"{R}/tables/comparisons/manifest.json",
    log:
        f"{R}/logs/comparisons.log",
    benchmark:
        f"{R}/benchmarks/comparisons.tsv"
    conda:
        "../environment.yml"
    resources:
        mem_mb=resource("mask", "mem_mb"),
        runtime=resource("mask", "minutes"),
    params:
        task=config["task"],
        params=fixed(canonical(comparison_params())),
        code=code("comparisons.py", TASK_MODULE),
    script:
        "../workflow/scripts/comparisons.py"
