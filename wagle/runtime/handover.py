"""What a run hands to its jobs through the environment: folder, names, fingerprints, import path.

The first process of a run notes it when it reads the rules (rules/common.smk). A job inherits it,
on whatever machine.
Standard library only, for every Snakemake process imports this file.
"""

import os
from pathlib import Path

from wagle.errors import WagleError

PACKAGE = Path(__file__).resolve().parent.parent
ROOT = PACKAGE.parent  # the checkout, or site-packages where wagle is installed
WORKFLOW, RULES, FINGERPRINT = "WAGLE_WORKFLOW", "WAGLE_RULES", "WAGLE_FINGERPRINT"


def begin(folder: str, renaming: str = "*") -> None:
    """Note the workflow's `folder`, and how a workflow that includes it renames its rules."""
    os.environ[WORKFLOW] = folder
    os.environ[RULES] = " ".join(sorted({*os.environ.get(RULES, "").split(), renaming}))
    # Local runs start small jobs in a warm process (wagle/runtime/warm.py). On a cluster each job,
    # in a group too, is a job step of its own, which would end such a process with itself.
    os.environ.setdefault("WAGLE_WARM", str(os.getpid()))
    # With --sdm conda a job has an environment of its own, and this library is not installed there.
    if "site-packages" not in ROOT.parts:
        paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*filter(None, paths), str(ROOT)]))


def workflow_folder() -> Path:
    """The folder of Snakefile, rules/ and workflow/scripts.

    The run's own, else this checkout, else the current folder. Raises WagleError without any, as
    for an installed wagle outside a checkout.
    """
    if named := os.environ.get(WORKFLOW):
        return Path(named)
    for folder in (ROOT, Path.cwd()):
        if (folder / "Snakefile").is_file() and (folder / "workflow" / "scripts").is_dir():
            return folder
    raise WagleError(
        f"no workflow in {Path.cwd()}, and none beside the installed library",
        "the folder of a checkout, with Snakefile, rules/ and workflow/",
        f"start this there, or name that folder in {WORKFLOW}",
    )


def own_name(rule: str) -> str:
    """The rule's name here, where a workflow that includes this one renamed it (`as wagle_*`)."""
    for pattern in sorted(os.environ.get(RULES, "").split(), key=len, reverse=True):
        before, _, after = pattern.partition("*")
        if rule.startswith(before) and rule.endswith(after):
            return rule[len(before) : len(rule) - len(after)]
    return rule


def same_run(experiment: str, fingerprint: str) -> bool:
    """Is `fingerprint` the one with which this run began?

    By experiment, for a workflow may include this one several times, with a config each.
    """
    noted = dict(part.split("=") for part in os.environ.get(FINGERPRINT, "").split() if "=" in part)
    first = noted.setdefault(experiment, fingerprint)
    os.environ[FINGERPRINT] = " ".join(f"{name}={value}" for name, value in sorted(noted.items()))
    return first == fingerprint
