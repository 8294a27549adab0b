"""Do the splits fit each other? Runs before any model loads."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

from wagle.data.rows import check_together, read_rows
from wagle.runtime.files import sha256_file, write_json
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    files = {
        name.removesuffix("_rows"): path
        for name, path in snakemake.input.items()
        if name != "records"
    }
    splits = {role: read_rows(path) for role, path in files.items()}
    check_together(splits)
    counts = {
        role: {"rows": len(splits[role]), "sha256": sha256_file(path)}
        for role, path in files.items()
    }
    write_json(outputs.check, counts)
