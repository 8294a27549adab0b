# What every rule shares: the validated config, paths, identities and resources. Standard library and wagle's light modules only.
import os

from wagle import config as experiment
from wagle import grid, identity
from wagle.errors import WagleError
from wagle.identity import canonical


try:
    experiment.validate(config, ", ".join(map(str, workflow.configfiles)) or "config")
    CELLS = grid.all_cells(config)
except WagleError as error:
    raise WorkflowError(str(error))

R = f"results/{config['experiment']}"
SPLITS = sorted(config["data"]["splits"])
METHODS, SELECTIONS = config["methods"], config["selections"]
PROTOCOLS = config["evaluation"]["protocols"]
FIGURES = ["sparsity_sweep", "density_module", "ratio_sweep", "density_layer"]


# A run whose config or code is edited while its jobs are queued must not mix versions: jobs inherit the first
# fingerprint and compare. Each job also checks the code of its own rule when it starts (wagle/provenance.py).
FINGERPRINT = identity.fingerprint(config)
if os.environ.setdefault("WAGLE_FINGERPRINT", FINGERPRINT) != FINGERPRINT:
    raise WorkflowError(
        "The config or the code changed while this run was under way. Expected: both as they were when it started. "
        "To do: let it stop, then start Snakemake again; it re-plans with the new ones."
    )

# Local runs start small jobs in a warm process (wagle/warm.py); WAGLE_WARM=0 switches that off.
if os.environ.setdefault("WAGLE_WARM", str(os.getpid())) == "0":
    del os.environ["WAGLE_WARM"]


wildcard_constraints:
    role="[a-z_]+",
    model="target|retrained",
    side="forget|retain",
    draw=r"all|seed-\d+",
    selection=r"[\w-]+(@gamma-[^/]+)?",
    ratio=r"[0-9.e-]+",
    cell=r"original|retrained|[^/]+/[^/]+/ratio-[^/]+/seed-\d+",
    protocol="|".join(PROTOCOLS),


def code(script, *modules):
    """Identity of a rule's code: its script, everything that imports, and modules that it loads by name."""
    return identity.code_identity(f"workflow/scripts/{script}", *modules)


def block(*keys, **more):
    """Canonical text of some of the config's blocks: what of the config a rule depends on."""
    return canonical({key: config[key] for key in keys} | more)


def fixed(text):
    """`text` as a param: through a function, or Snakemake would take its braces for wildcards."""
    return lambda wildcards: text


def artifact(folder, *names):
    """Files of another job's folder and that job's record, which the job that reads them compares with the files."""
    return [f"{R}/{folder}/{name}" for name in names] + [f"{R}/{folder}/manifest.json"]


def rows(*roles):
    return [path for role in roles for path in artifact(f"data/{role}", "rows.jsonl")]


def resource(stage, kind):
    """A stage's memory (MB) or minutes, from the model's size and the experiment's factors; grows with each attempt."""
    options = config["resources"]

    def value(wildcards, attempt):
        if kind == "mem_mb":
            per_weight = options["bytes_per_weight"][stage]
            return int(attempt * (options["base_mb"] + per_weight * options["parameters"] / 2**20))
        return int(attempt * options["minutes"][stage])

    return value


def gpus(stage):
    return config["resources"]["gpu"] if stage in config["resources"]["gpu_stages"] else 0


THREADS = config["resources"]["threads"]
