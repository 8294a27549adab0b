"""The audit of the finished experiment, and its whole config. Fails where it found problems."""

import json
from pathlib import Path

from wagle.audit import summary
from wagle.audit.check import audit_folder
from wagle.errors import WagleError
from wagle.runtime.files import write_json
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    results = Path(snakemake.output.manifest).parent.parent
    audit = audit_folder(results, skip=("audit",))
    print(summary.as_text(audit, limit=100))
    if audit.verdict == "problems":
        raise WagleError(
            f"the audit of {results} found problems", "a clean folder", f"run wagle audit {results}"
        )
    write_json(outputs.config, json.loads(snakemake.params.config))
    write_json(outputs.json, summary.as_json(audit))
    outputs.text.write_text(f"```\n{summary.as_text(audit)}```\n", encoding="utf-8")
