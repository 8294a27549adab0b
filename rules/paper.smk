# Tables and figures: sets of cells, drawn from the collected metrics and the masks' densities; the claims answered from them.
COLLECTED = artifact("collected", "metrics.csv")
DRAWN = [name for name in FIGURES if ("density" if name.startswith("density") else name) in config["figures"]]
TABLE_FILES = {p: artifact(f"tables/{TABLE}/{p}", *[f"{TABLE}{end}" for end in TABLE_ENDS]) for p in PROTOCOLS}
FIGURE_FILES = {n: artifact(f"figures/{n}", *[f"{n}.{kind}" for kind in ("pdf", "svg", "png", "csv")]) for n in DRAWN}
OTHER_TABLES = {n: artifact(f"tables/{n}", f"{n}.csv", f"{n}.md", f"{n}.tex") for n in ["claims", "table4"]}
EXAMPLES = artifact("tables/examples", "examples.csv", "examples.md", "examples.tex") if "examples" in config else []


rule collect:
    input:
        [path for cell in CELLS for path in artifact(f"metrics/{cell.id}", "metrics.json")],
    output:
        metrics=f"{R}/collected/metrics.csv",
        manifest=f"{R}/collected/manifest.json",
    log:
        f"{R}/logs/collect.log",
    benchmark:
        f"{R}/benchmarks/collect.tsv"
    localrule: True
    conda:
        "../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        experiment=fixed(canonical([config["experiment"], config["task"]])),
        cells=fixed(canonical([cell.id for cell in CELLS])),
        code=code("collect.py"),
    script:
        "../workflow/scripts/collect.py"


rule table:
    input:
        metrics=COLLECTED,
    output:
        wide=report(f"{R}/tables/{TABLE}/{{protocol}}/{TABLE}.csv", caption="../workflow/report/table.rst", category="Tables", labels={"table": TABLE, "protocol": "{protocol}"}),
        long=f"{R}/tables/{TABLE}/{{protocol}}/{TABLE}_long.csv",
        markdown=f"{R}/tables/{TABLE}/{{protocol}}/{TABLE}.md",
        latex=f"{R}/tables/{TABLE}/{{protocol}}/{TABLE}.tex",
        published=report(f"{R}/tables/{TABLE}/{{protocol}}/{TABLE}_published.csv", caption="../workflow/report/published.rst", category="Tables", labels={"table": f"{TABLE}, beside the published", "protocol": "{protocol}"}),
        published_markdown=f"{R}/tables/{TABLE}/{{protocol}}/{TABLE}_published.md",
        manifest=f"{R}/tables/{TABLE}/{{protocol}}/manifest.json",
    log:
        f"{R}/logs/table/{{protocol}}.log",
    benchmark:
        f"{R}/benchmarks/table/{{protocol}}.tsv"
    localrule: True
    conda:
        "../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        task=TASK,
        cells=fixed(canonical([cell.id for cell in grid.table_cells(config)])),
        published=f"{TABLE}-{TASK}",
        code=code("table.py", f"wagle/assets/published/{TABLE}-{TASK}.csv"),
    script:
        "../workflow/scripts/table.py"


rule claims:
    input:
        metrics=COLLECTED,
        densities=density_inputs(),
    output:
        answers=f"{R}/tables/claims/claims.json",
        table=report(f"{R}/tables/claims/claims.csv", caption="../workflow/report/claims.rst", category="Claims", labels={"table": "claims"}),
        markdown=f"{R}/tables/claims/claims.md",
        latex=f"{R}/tables/claims/claims.tex",
        manifest=f"{R}/tables/claims/manifest.json",
    log:
        f"{R}/logs/claims.log",
    benchmark:
        f"{R}/benchmarks/claims.tsv"
    localrule: True
    conda:
        "../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        claims=fixed(canonical(CLAIMS)),
        cells=fixed(canonical(claim_cells())),
        selections=fixed(canonical(config["figures"].get("density", {}).get("selections", []))),
        code=code("claims.py"),
    script:
        "../workflow/scripts/claims.py"


rule timing:
    input:
        timing_inputs(),
    output:
        table=report(f"{R}/tables/table4/table4.csv", caption="../workflow/report/timing.rst", category="Tables", labels={"table": "table4", "protocol": "times"}),
        markdown=f"{R}/tables/table4/table4.md",
        latex=f"{R}/tables/table4/table4.tex",
        manifest=f"{R}/tables/table4/manifest.json",
    log:
        f"{R}/logs/timing.log",
    benchmark:
        f"{R}/benchmarks/timing.tsv"
    localrule: True
    conda:
        "../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        jobs=fixed(canonical(timing_jobs())),
        code=code("timing.py"),
    script:
        "../workflow/scripts/timing.py"


rule examples:
    input:
        answers=[p for c in EXAMPLE_CELLS for p in artifact(f"evaluations/{c}", "generations.jsonl")],
        refusals=rows("refusals") if "refusals" in SPLITS else [],
    output:
        table=report(f"{R}/tables/examples/examples.csv", caption="../workflow/report/examples.rst", category="Examples", labels={"table": "examples"}),
        markdown=f"{R}/tables/examples/examples.md",
        latex=f"{R}/tables/examples/examples.tex",
        refusals=f"{R}/tables/examples/refusals.csv",
        refusals_markdown=f"{R}/tables/examples/refusals.md",
        refusals_latex=f"{R}/tables/examples/refusals.tex",
        manifest=f"{R}/tables/examples/manifest.json",
    log:
        f"{R}/logs/examples.log",
    benchmark:
        f"{R}/benchmarks/examples.tsv"
    localrule: True
    conda:
        "../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        cells=fixed(canonical(EXAMPLE_CELLS)),
        rows=fixed(canonical(config.get("examples", {}).get("rows"))),
        code=code("examples.py"),
    script:
        "../workflow/scripts/examples.py"


rule figure:
    input:
        figure_inputs,
    output:
        pdf=f"{R}/figures/{{figure}}/{{figure}}.pdf",
        svg=report(f"{R}/figures/{{figure}}/{{figure}}.svg", caption="../workflow/report/figure.rst", category="Figures", labels={"figure": "{figure}"}),
        png=f"{R}/figures/{{figure}}/{{figure}}.png",
        csv=f"{R}/figures/{{figure}}/{{figure}}.csv",
        manifest=f"{R}/figures/{{figure}}/manifest.json",
    log:
        f"{R}/logs/figure/{{figure}}.log",
    benchmark:
        f"{R}/benchmarks/figure/{{figure}}.tsv"
    wildcard_constraints:
        figure="|".join(FIGURES),
    localrule: True
    conda:
        "../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        show=figure_params,
        code=code("figure.py"),
    script:
        "../workflow/scripts/figure.py"


rule report:
    input:
        tables=[path for p in PROTOCOLS for path in artifact(f"tables/{TABLE}/{p}", f"{TABLE}.md", f"{TABLE}_published.md")],
        claims=artifact("tables/claims", "claims.md"),
        timing=artifact("tables/table4", "table4.md"),
        examples=artifact("tables/examples", "examples.md", "refusals.md") if EXAMPLES else [],
        figures=[path for name in DRAWN for path in artifact(f"figures/{name}", f"{name}.svg")],
    output:
        report=report(f"{R}/report/report.html", caption="../workflow/report/page.rst", category="Report", labels={"page": "all on one page"}),
        manifest=f"{R}/report/manifest.json",
    log:
        f"{R}/logs/report.log",
    benchmark:
        f"{R}/benchmarks/report.tsv"
    localrule: True
    conda:
        "../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        experiment=fixed(canonical([config["experiment"], TASK, experiment.about(config), PROTOCOLS, DRAWN])),
        code=code("report.py", "wagle/assets/report.html.j2"),
    script:
        "../workflow/scripts/report.py"
