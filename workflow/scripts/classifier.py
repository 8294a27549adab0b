"""The toxicity classifier: from hub or path, or a probe fitted on labelled rows."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json
import shutil
from pathlib import Path

from wagle.data.rows import read_rows
from wagle.evaluation import toxicity
from wagle.model import checkpoints, embedding
from wagle.runtime.files import write_json
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    spec = json.loads(snakemake.params.config)
    if spec["source"] == "probe":
        rows = read_rows(snakemake.input.toxicity_labels_rows)
        texts, labels = [row["text"] for row in rows], [row["label"] for row in rows]
        vectors = embedding.embed(embedding.load(snakemake.input.embedder), texts)
        accuracy = toxicity.fit_probe(vectors, labels, Path(outputs.model))
        print(f"probe: cross-validated accuracy {accuracy:.3f} on {len(rows)} rows")
    else:
        spec = checkpoints.located(spec, snakemake.config["evaluation"]["classifier"])
        folder = checkpoints.folder(spec, "a sequence classifier's folder")
        shutil.copytree(folder, outputs.model, ignore=shutil.ignore_patterns(".cache"))
        use = {"label": spec["label"], "activation": spec["activation"]}
        write_json(Path(outputs.model) / "wagle.json", use)
