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
include: "rules/curvature.smk"
include: "rules/unlearning.smk"
include: "rules/evaluation.smk" if TASK.scoring_log else "rules/suites.smk"
include: "rules/paper.smk"
include: "rules/prefetch.smk"


if "tuning" in config:

    include: "rules/tuning.smk"


if "comparisons" in config:

    include: "rules/comparisons.smk"


rule all:
    default_target: True
    input:
        outputs_of(*COLLECTED),
        list(TABLE_FILES.values()),
        list(FIGURE_FILES.values()),
        list(OTHER_TABLES.values()),
        outputs_of("report", "report.html"),


include: "rules/audit.smk"


onerror:
    logger.error(console.where_to_look(f"{R}/logs", BEGAN))
