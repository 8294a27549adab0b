"""What data.splits says of one role: its sources, its files, and what its rows depend on.

Notable: standard library only, because Snakemake imports this on every start. Left out: reading
rows (wagle/data/sources.py).
"""

from typing import NamedTuple

from wagle.data.rows import candidates

SOURCE_KEYS = {"hub": ("dataset", "revision"), "synthetic": ("synthetic",), "files": ()}


class SplitEntry(NamedTuple):
    """One entry of a split: the source of its rows, and its options."""

    source: str
    options: dict


def split_entries(config: dict, role: str) -> list[SplitEntry]:
    """The entries of the split `role`, which follow one another."""
    spec, default = config["data"]["splits"][role], config["data"]["source"]
    entries = spec if isinstance(spec, list) else [spec]
    return [SplitEntry(entry.get("source", default), entry) for entry in entries]


def split_identity(config: dict, role: str) -> dict:
    """What the rows of `role` depend on.

    That is its own entries, and of the data block only what their sources read.
    """
    sources = [entry.source for entry in split_entries(config, role)]
    keys = sorted({key for source in sources for key in SOURCE_KEYS[source]})
    return {"role": role, "spec": config["data"]["splits"][role], "sources": sources} | {
        key: config["data"].get(key) for key in keys
    }


def split_modules(config: dict, role: str) -> list[str]:
    """Code and package data that splits load by name."""
    modules = set()
    for entry in split_entries(config, role):
        if entry.source == "synthetic":
            modules.add("wagle.data.synthetic")
        if entry.options.get("form") == "quiz":
            modules.add(f"wagle/assets/harness/{entry.options['task']}.yaml")
    return sorted(modules)


def split_inputs(config: dict, role: str) -> list[str]:
    """The files behind `role` whose source is `files`, so that Snakemake sees a changed row."""
    paths = []
    for entry in split_entries(config, role):
        if entry.source == "files":
            files = candidates(config["data_dir"] or ".", entry.options.get("name", role))
            paths.append(str(next((file for file in files if file.is_file()), files[0])))
    return paths
