"""What a job's result depends on besides its input files: code and config, as short strings.

Snakemake sees a changed parameter, but neither a changed import of a script nor a changed nested config block. So each
rule carries `code_identity(...)`, a hash over the syntax trees of the script and of every project module that it
reaches through static imports, and `canonical(block)`, one JSON text with sorted keys for each config block that it
reads. Comments, docstrings, formatting, time stamps and fresh clones change neither.

Notable: modules loaded by name (a score, an objective) are not static imports, and files of wagle/assets/ are no modules;
a rule names both as further roots. Scripts lie in the workflow's folder, which is not where an installed library lies.
Left out: packages from outside the project; their versions are part of each job's run record instead.
Standard library only, for every Snakemake process imports this file.
"""

import ast
import functools
import hashlib
import json
import sys
from pathlib import Path

from wagle.errors import WagleError
from wagle.runtime.handover import PACKAGE, ROOT, workflow_folder


def canonical(value) -> str:
    """JSON text of `value` with sorted keys: equal configs give equal strings whatever their key order."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _outside() -> list[Path]:
    """Folders in which a user's own modules may lie: the current one and the import path, without installed packages."""
    named = [Path(p) for p in sys.path if p and "site-packages" not in p and "lib/python" not in p]
    return [Path.cwd(), *named]


def module_file(module: str) -> Path | None:
    """Path of a project module such as `wagle.attribution.topk`, or of a user's module on the import path; None if there is none.

    Only plain source files count. Installed packages other than wagle itself (anything under site-packages) give None.
    """
    parts = module.split(".")
    for root in [ROOT] if parts[0] == PACKAGE.name else _outside():
        stem = root.joinpath(*parts)
        for candidate in (stem.with_suffix(".py"), stem / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


@functools.cache
def _tree(path: Path) -> ast.Module:
    """The syntax tree of a file, docstrings dropped (comments and formatting are not part of a tree)."""
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as error:
        raise WagleError(f"{path} is not valid Python: {error}", do="mend the file") from None
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            if is_text and isinstance(first.value.value, str):
                node.body = node.body[1:] or [ast.Pass()]
    return tree


@functools.cache
def _digest(path: Path) -> str:
    content = ast.dump(_tree(path)).encode() if path.suffix == ".py" else path.read_bytes()
    return hashlib.sha256(content).hexdigest()


@functools.cache
def _imports(path: Path) -> tuple[str, ...]:
    if path.suffix != ".py":
        return ()
    names = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # relative import: resolve against the package that holds this file
                above = [root for root in (ROOT, *_outside()) if root in path.parents]
                root = max(above, key=lambda root: len(root.parts), default=path.parent)
                package = path.relative_to(root).parts[: -node.level]
                base = ".".join([*package, *([base] if base else [])])
            names.add(base)
            names.update(
                f"{base}.{alias.name}" for alias in node.names
            )  # `from wagle import topk` names a module
    return tuple(sorted(names))


def closure(*roots: str) -> dict[str, Path]:
    """Project files reachable by static imports from `roots`, by name.

    A root is a module's name, a script's path in the workflow's folder, or a path of package data such as
    wagle/assets/report.html.j2.
    """
    found: dict[str, Path] = {}
    pending = list(roots)
    while pending:
        name = pending.pop()
        if name in found:
            continue
        path = _file(name) if "/" in name or name.endswith(".py") else module_file(name)
        if path is None or not path.is_file():
            if name in roots:
                raise WagleError(
                    f"module {name!r} was not found",
                    "a file of this project or on PYTHONPATH",
                    "check the `module:` entries of the config",
                )
            continue
        found[name] = path
        pending.extend(_imports(path))
    return found


def _file(name: str) -> Path:
    return (ROOT if name.startswith(f"{PACKAGE.name}/") else workflow_folder()) / name


@functools.cache
def code_identity(*roots: str) -> str:
    """`<sha256>:<root>,<root>...` over the code that `roots` reach; the roots stay readable so a job can check itself.

    Raises WagleError when a root does not exist or does not parse.
    """
    text = "\n".join(f"{name} {_digest(path)}" for name, path in sorted(closure(*roots).items()))
    return hashlib.sha256(text.encode()).hexdigest() + ":" + ",".join(roots)


def check_code_identity(identity: str) -> None:
    """Raise WagleError if the code on disk is no longer what `identity` was computed from."""
    roots = identity.partition(":")[2].split(",")
    if code_identity(*roots) != identity:
        raise WagleError(
            f"the code of {', '.join(roots)} changed after this job was planned",
            "the code that the run was started with",
            "let the run stop, then start Snakemake again: it re-plans with the new code",
        )


def constant(module: str, name: str, default=None):
    """The literal value of a module-level constant, read without importing the module (its imports may be heavy)."""
    path = module_file(module)
    if path is None:
        raise WagleError(
            f"module {module!r} was not found", "a file of this project or on PYTHONPATH"
        )
    for node in _tree(path).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == name for t in node.targets
        ):
            return ast.literal_eval(node.value)
    return default


def keyword_options(module: str, function: str) -> tuple[str, ...]:
    """Names of the keyword-only parameters of `function` in `module`: the options that a config may set."""
    path = module_file(module)
    if path is None:
        raise WagleError(
            f"module {module!r} was not found", "a file of this project or on PYTHONPATH"
        )
    for node in _tree(path).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return tuple(arg.arg for arg in node.args.kwonlyargs)
    raise WagleError(
        f"{path} defines no function {function!r}", "the interface described in docs/extending.md"
    )


@functools.cache
def _project_digest(hosted: bool) -> str:
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    if not hosted:
        for pattern in ("Snakefile", "rules/*.smk", "workflow/scripts/*.py"):
            files += workflow_folder().glob(pattern)
    return hashlib.sha256("".join(map(_digest, sorted(files))).encode()).hexdigest()


def fingerprint(config: dict, *modules: str, hosted: bool = False) -> str:
    """One hash over a config, all of the project's code and outside `modules`: equal for the jobs of a run that nobody edited.

    Nobody edits the workflow's own files where they are `hosted`, and not all of them are at hand.
    """
    return hashlib.sha256(
        (canonical(config) + _project_digest(hosted) + code_identity(*modules)).encode()
    ).hexdigest()
