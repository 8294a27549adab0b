"""What data.splits says of one role: its sources, its files, and what its rows depend on.

Standard library only, for Snakemake asks on every start.
"""

from wagle.data.rows import candidates


def parts(config: dict, role: str) -> list[tuple[str, dict]]:
    """(source, entry) of each entry behind `role`."""
    spec = config["data"]["splits"][role]
    return [
        (part.get("source", config["data"]["source"]), part)
        for part in (spec if isinstance(spec, list) else [spec])
    ]


def split_identity(config: dict, role: str) -> dict:
    """What the rows of `role` depend on: its own entries, and of the data block only what their sources read."""
    keys = {"hub": ("dataset", "revision"), "synthetic": ("synthetic",), "files": ()}
    used = sorted({key for source, _ in parts(config, role) for key in keys[source]})
    sources = [source for source, _ in parts(config, role)]
    return {"role": role, "spec": config["data"]["splits"][role], "sources": sources} | {
        k: config["data"].get(k) for k in used
    }


def split_modules(config: dict, role: str) -> list[str]:
    """Code and package data that splits load by name."""
    found = {"wagle.data.synthetic" for source, _ in parts(config, role) if source == "synthetic"}
    quizzes = [part["task"] for _, part in parts(config, role) if part.get("form") == "quiz"]
    return sorted({*found, *(f"wagle/assets/harness/{task}.yaml" for task in quizzes)})


def split_inputs(config: dict, role: str) -> list[str]:
    """The files behind `role` where its source is a folder of files, so that Snakemake sees a changed row."""
    found = []
    for source, part in parts(config, role):
        if source == "files":
            files = candidates(config["data_dir"] or ".", part.get("name", role))
            found.append(str(next((file for file in files if file.is_file()), files[0])))
    return found
