"""The audit of the finished experiment, and the whole config that it was made with. Fails where it found problems."""

import json
from pathlib import Path

from wagle.audit import audit
from wagle.errors import WagleError
from wagle.runtime.files import write_json
from wagle.runtime.job import recorded

with recorded(snakemake) as part:
    results = Path(snakemake.output.manifest).parent.parent
    found = audit.audit(results, skip=("audit",))
    print(audit.text(found, most=100))
    if found.verdict == "problems":
        raise WagleError(
            f"the audit of {results} found problems", "a clean folder", f"run wagle audit {results}"
        )
    write_json(part.config, json.loads(snakemake.params.config))
    write_json(part.json, audit.as_json(found))
    part.text.write_text(f"```\n{audit.text(found)}```\n", encoding="utf-8")
