# Tables and figures: sets of cells, drawn from the collected metrics and the masks' densities.
COLLECTED = artifact("collected", "metrics.csv")
DRAWN = [name for name in FIGURES if ("density" if name.startswith("density") else name) in config["figures"]]
TABLE1 = {p: artifact(f"tables/table1/{p}", *[f"table1{end}" for end in (".csv", "_long.csv", ".md", ".tex")]) for p in PROTOCOLS}
FIGURE_FILES = {n: artifact(f"figures/{n}", *[f"{n}.{kind}" for kind in ("pdf", "svg", "png", "csv")]) for n in DRAWN}


rule table1:
    input:
        COLLECTED,
    output:
        wide=f"{R}/tables/table1/{{protocol}}/table1.csv",
        long=f"{R}/tables/table1/{{protocol}}/table1_long.csv",
        markdown=f"{R}/tables/table1/{{protocol}}/table1.md",
        latex=f"{R}/tables/table1/{{protocol}}/table1.tex",
        manifest=f"{R}/tables/table1/{{protocol}}/manifest.json",
    log:
        f"{R}/logs/table1/{{protocol}}.log",
    benchmark:
        f"{R}/benchmarks/table1/{{protocol}}.tsv"
    localrule: True
    conda:
        "../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        cells=fixed(canonical([cell.id for cell in grid.table_cells(config)])),
        code=code("table1.py"),
    script:
        "../workflow/scripts/table1.py"


rule figure:
    input:
        figure_inputs,
    output:
        pdf=f"{R}/figures/{{figure}}/{{figure}}.pdf",
        svg=f"{R}/figures/{{figure}}/{{figure}}.svg",
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
        tables=[path for p in PROTOCOLS for path in artifact(f"tables/table1/{p}", "table1.md")],
        figures=[path for name in DRAWN for path in artifact(f"figures/{name}", f"{name}.svg")],
    output:
        report=f"{R}/report/report.html",
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
        experiment=fixed(canonical([config["experiment"], experiment.about(config), PROTOCOLS, DRAWN])),
        template=identity.file_hash("workflow/report/report.html.j2"),
        code=code("report.py"),
    script:
        "../workflow/scripts/report.py"
