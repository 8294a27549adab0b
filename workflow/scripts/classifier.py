"""The toxicity classifier: from hub or path, or a probe fitted on labelled rows."""

# ruff: noqa: E402
from wagle.warm import hand_over

hand_over()

import json
import shutil
from pathlib import Path

from wagle import data, embedding, models, toxicity
from wagle.provenance import recorded, write_json

with recorded(snakemake) as part:
    spec = json.loads(snakemake.params.config)
    if spec["source"] == "probe":
        rows = data.read_rows(snakemake.input.rows[0])
        vectors = embedding.embed(embedding.load(snakemake.input.embedder[0]), [row["text"] for row in rows])
        accuracy = toxicity.fit_probe(vectors, [row["label"] for row in rows], Path(part.model))
        print(f"probe: cross-validated accuracy {accuracy:.3f} on {len(rows)} rows")
    else:
        shutil.copytree(
            models.folder(spec, "a sequence classifier's folder"), part.model, ignore=shutil.ignore_patterns(".cache")
        )
        write_json(Path(part.model) / "wagle.json", {"label": spec["label"], "activation": spec["activation"]})
