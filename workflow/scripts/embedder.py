"""The sentence-embedding model, from hub, path or wheel."""

# ruff: noqa: E402
from wagle.warm import hand_over

hand_over()

import shutil
import tempfile
from pathlib import Path

from wagle import models
from wagle.errors import WagleError
from wagle.provenance import recorded

with recorded(snakemake) as part:
    spec = snakemake.config["evaluation"]["embedder"]
    if spec["source"] == "pypi":
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(models.pypi_file(spec, Path(folder)).parent, part.model)
    elif spec["source"] == "path":
        if not Path(spec["path"]).is_dir():
            raise WagleError(f"embedder path {spec['path']!r} is not a folder", "a sentence-transformers folder")
        shutil.copytree(spec["path"], part.model)
    else:
        from huggingface_hub import snapshot_download

        try:
            snapshot_download(spec["name"], revision=spec["revision"], local_dir=part.model)
        except (OSError, ValueError) as error:
            raise WagleError(f"{spec['name']} could not be fetched: {error}", do="check the network") from None
        shutil.rmtree(Path(part.model) / ".cache", ignore_errors=True)
