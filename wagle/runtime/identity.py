"""What a job's result depends on besides its input files: code and config, as short strings.

Snakemake sees a changed parameter. It sees neither a changed import of a script nor a changed
nested config block. So each rule carries two strings. `code_identity(...)` is a hash over the
syntax trees of the script and of every project module that it reaches through static imports.
`canonical(block)` is one JSON text with sorted keys for each config block that the rule reads.
Comments, docstrings, formatting, time stamps and fresh clones change neither.

Notable: modules loaded by name (a score, an objective) are not static imports, and files of
wagle/assets/ are no modules, so a rule names both as further roots. Scripts lie in the workflow's
folder, which is not where an installed library lies. Standard library only, because every Snakemake
process imports this file.
Left out: packages from outside the project. Their versions are in each job's run record.
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
    """JSON text of `value` with sorted keys: equal for equal configs, whatever their key order."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _outside() -> list[Path]:
    """Folders in which a user's own modules may lie.

    They are the current folder and the import path, without installed packages.
    """
    named = [Path(p) for p in sys.path if p and "site-packages" not in p and "lib/python" not in p]
    return [Path.cwd(), *named]


def module_file(module: str) -> Path | None:
    """Path of a module of the project, such as `wagle.attribution.topk`, or of the user's.

    A user's module lies on the import path. None where there is no source file, and for installed
    packages other than wagle itself (anything under site-packages).
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
    """The syntax tree of a file without docstrings; it has no comments and no formatting."""
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
            # `from wagle import topk` names a module.
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return tuple(sorted(names))


def closure(*roots: str) -> dict[str, Path]:
    """Project files reachable by static imports from `roots`, by name.

    A root is a module's name, a script's path in the workflow's folder, or a path of package data
    such as wagle/assets/report.html.j2. Raises WagleError when a root does not exist.
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
    """`<sha256>:<root>,<root>...`, the hash over the code that `roots` reach.

    The roots stay readable, so that a job can check itself. Raises WagleError when a root does not
    exist or does not parse.
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
    """The literal value of a module-level constant; `default` where the module has none.

    The module is not imported, because its own imports may be heavy. Raises WagleError when there
    is no such module.
    """
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
    """Names of the keyword-only parameters of `function` in `module`.

    They are the options that a config may set. Raises WagleError when there is no such function.
    """
    path = module_file(module)
    if path is None:
        raise WagleError(
            f"module {module!r} was not found", "a file of this project or on PYTHONPATH"
        )
    return tuple(arg.arg for arg in _signature(path, function).kwonlyargs)


def keyword_defaults(module: str, function: str) -> dict:
    """Defaults of those keyword-only parameters that have one. An option without must be set.

    Raises WagleError when there is no such function, or when a default is no literal.
    """
    path = module_file(module)
    signature = _signature(path, function)
    pairs = zip(signature.kwonlyargs, signature.kw_defaults, strict=True)
    try:
        return {arg.arg: ast.literal_eval(node) for arg, node in pairs if node is not None}
    except ValueError:
        raise WagleError(
            f"{path}: an option of {function} has a default that is computed", "a literal value"
        ) from None


def _signature(path: Path, function: str) -> ast.arguments:
    for node in _tree(path).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return node.args
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
    """One hash over a config, all of the project's code, and `modules` from outside.

    It is equal for all jobs of a run unless somebody edits one of these. The workflow's own files
    do not count where they are `hosted`: nobody edits them there, and some are absent.
    """
    return hashlib.sha256(
        (canonical(config) + _project_digest(hosted) + code_identity(*modules)).encode()
    ).hexdigest()
