# WAGLE reproduction: from a base model and a data set to the paper's tables and figures. See README.md.
import time

from snakemake.utils import min_version

from wagle.runtime import console

min_version("9.27")

if workflow.is_main_process and workflow.modifier.is_main_snakefile():
    console.follow(logger)
BEGAN = time.time()

# An experiment is one complete file: the default is read only where no other was named, and never merged with one.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "rules/common.smk"
include: "rules/models.smk"
include: "rules/attribution.smk"
include: "rules/unlearning.smk"
include: "rules/evaluation.smk" if config["task"] == "tofu" else "rules/suites.smk"
include: "rules/paper.smk"
include: "rules/prefetch.smk"


rule all:
    default_target: True
    input:
        COLLECTED,
        [path for protocol in PROTOCOLS for path in TABLE_FILES[protocol]],
        [path for name in DRAWN for path in FIGURE_FILES[name]],
        [path for files in OTHER_TABLES.values() for path in files],
        EXAMPLES,
        artifact("report", "report.html"),


include: "rules/audit.smk"


onerror:
    logger.error(console.where_to_look(f"{R}/logs", BEGAN))
