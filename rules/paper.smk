# Tables and figures: sets of cells, drawn from the collected metrics and the masks' densities; the claims answered from them.
UNLEARNED = [cell for cell in CELLS if cell.method not in cells.BASELINES]
TABLE_ENDS = [
    ".csv",
    "_long.csv",
    ".md",
    ".tex",
    "_published.csv",
    "_published.md",
    "_differences.csv",
    "_differences.md",
]
TABLE_FILES = {
    protocol: outputs_of(
        f"tables/{TASK.table}/{protocol}", *[f"{TASK.table}{end}" for end in TABLE_ENDS]
    )
    for protocol in PROTOCOLS
}
FIGURE_FILES = {
    name: outputs_of(
        f"figures/{name}", *[f"{name}.{kind}" for kind in ("pdf", "svg", "png", "csv")]
    )
    for name in FIGURES
}
OTHER_TABLES = {
    name: outputs_of(f"tables/{name}", *[f"{name}.{kind}" for kind in ("csv", "md", "tex")])
    for name in ("claims", "table4", *(["examples"] if "examples" in config else []))
}


if "tuning" in config:
    OTHER_TABLES["tuning"] = outputs_of(
        "tables/tuning",
        *[f"{n}.{kind}" for n in ("trials", "points", "matched") for kind in ("csv", "md", "tex")],
    )


if "comparisons" in config:
    OTHER_TABLES["comparisons"] = outputs_of(
        "tables/comparisons",
        *[f"{name}.{kind}" for name in COMPARED for kind in ("csv", "md", "tex")],
    )


rule collect:
    input:
        unpack(
            fixed_inputs(
                metrics=[(f"metrics/{cell.id}", "metrics.json") for cell in CELLS],
                moved=[(f"unlearned/{cell.id}", "moved.json") for cell in UNLEARNED],
            )
        ),
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
        unpack(
            fixed_inputs(
                metrics=COLLECTED,
                rows=row_values(claim_cells()["table"]),
                **tuning_tables("points"),
            )
        ),
    output:
        wide=report(
            f"{R}/tables/{TASK.table}/{{protocol}}/{TASK.table}.csv",
            caption="../workflow/report/table.rst",
            category="Tables",
            labels={"table": TASK.table, "protocol": "{protocol}"},
        ),
        long=f"{R}/tables/{TASK.table}/{{protocol}}/{TASK.table}_long.csv",
        markdown=f"{R}/tables/{TASK.table}/{{protocol}}/{TASK.table}.md",
        latex=f"{R}/tables/{TASK.table}/{{protocol}}/{TASK.table}.tex",
        published=report(
            f"{R}/tables/{TASK.table}/{{protocol}}/{TASK.table}_published.csv",
            caption="../workflow/report/published.rst",
            category="Tables",
            labels={"table": f"{TASK.table}, beside the published", "protocol": "{protocol}"},
        ),
        published_markdown=f"{R}/tables/{TASK.table}/{{protocol}}/{TASK.table}_published.md",
        differences=f"{R}/tables/{TASK.table}/{{protocol}}/{TASK.table}_differences.csv",
        differences_markdown=f"{R}/tables/{TASK.table}/{{protocol}}/{TASK.table}_differences.md",
        manifest=f"{R}/tables/{TASK.table}/{{protocol}}/manifest.json",
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
        task=config["task"],
        cells=fixed(canonical([cell.id for cell in grid.table_cells(config)])),
        code=code("table.py", TASK_MODULE, *published_files()),
    script:
        "../workflow/scripts/table.py"


rule claims:
    input:
        unpack(
            fixed_inputs(
                metrics=COLLECTED,
                rows=row_values(claim_cells()["rows"]),
                densities=densities.mask_tables(config, density_options()),
                **tuning_tables("matched"),
            )
        ),
    output:
        answers=f"{R}/tables/claims/claims.json",
        table=report(
            f"{R}/tables/claims/claims.csv",
            caption="../workflow/report/claims.rst",
            category="Claims",
            labels={"table": "claims"},
        ),
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
        selections=fixed(canonical(density_options()["selections"])),
        code=code("claims.py"),
    script:
        "../workflow/scripts/claims.py"


rule timing:
    input:
        timing_inputs(),
    output:
        table=report(
            f"{R}/tables/table4/table4.csv",
            caption="../workflow/report/timing.rst",
            category="Tables",
            labels={"table": "table4", "protocol": "times"},
        ),
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
        unpack(
            fixed_inputs(answers=example_names(), **rows(*["refusals"] * ("refusals" in SPLITS)))
        ),
    output:
        table=report(
            f"{R}/tables/examples/examples.csv",
            caption="../workflow/report/examples.rst",
            category="Examples",
            labels={"table": "examples"},
        ),
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
        unpack(figure_inputs),
    output:
        pdf=f"{R}/figures/{{figure}}/{{figure}}.pdf",
        svg=report(
            f"{R}/figures/{{figure}}/{{figure}}.svg",
            caption="../workflow/report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        png=f"{R}/figures/{{figure}}/{{figure}}.png",
        csv=f"{R}/figures/{{figure}}/{{figure}}.csv",
        manifest=f"{R}/figures/{{figure}}/manifest.json",
    log:
        f"{R}/logs/figure/{{figure}}.log",
    benchmark:
        f"{R}/benchmarks/figure/{{figure}}.tsv"
    wildcard_constraints:
        figure="|".join(FIGURES) or "none",
    localrule: True
    conda:
        "../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        figure=figure_module,
        params=figure_params,
        code=lambda w: code("figure.py", figure_module(w)),
    script:
        "../workflow/scripts/figure.py"


rule report:
    input:
        unpack(
            fixed_inputs(
                metrics=COLLECTED,
                long=[(f"tables/{TASK.table}/{p}", f"{TASK.table}_long.csv") for p in PROTOCOLS],
                published=[
                    (f"tables/{TASK.table}/{p}", f"{TASK.table}_published.csv") for p in PROTOCOLS
                ],
                claims=("tables/claims", "claims.csv"),
                timing=("tables/table4", "table4.csv"),
                **tuning_tables("points", "matched", "trials"),
                **comparison_tables(),
                figures=[(f"figures/{name}", f"{name}.svg") for name in FIGURES],
                **{
                    name: ("tables/examples", f"{name}.csv")
                    for name in (["examples", "refusals"] if "examples" in config else [])
                },
            )
        ),
    output:
        report=report(
            f"{R}/report/report.html",
            caption="../workflow/report/page.rst",
            category="Report",
            labels={"page": "all on one page"},
        ),
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
        about=fixed(canonical(report_params())),
        code=code("report.py", TASK_MODULE, "wagle/assets/report.html.j2"),
    script:
        "../workflow/scripts/report.py"
