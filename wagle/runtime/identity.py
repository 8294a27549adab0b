"""What a job's result depends on besides its input files: code and config, as short strings.

Snakemake sees a changed parameter, but neither a changed import of a script nor a changed nested
config block. So each rule carries two more. `code_identity(...)` is a hash over the syntax trees of
the script and of every project module that it reaches through static imports. `canonical(block)` is
one JSON text with sorted keys for each config block that the rule reads. Comments, docstrings,
formatting, time stamps and fresh clones change neither.

Notable: modules loaded by name (a score, an objective) are not static imports. The rule names them
as further roots. Standard library only, because every Snakemake process imports this file.
Left out: packages from outside the project. Their versions are part of each job's run record.
"""

import ast
import functools
import hashlib
import json
import sys
from pathlib import Path

from wagle.errors import WagleError

ROOT = Path(__file__).resolve().parent.parent.parent


def canonical(value) -> str:
    """JSON text of `value` with sorted keys: equal configs give equal strings in any key order."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def module_file(module: str) -> Path | None:
    """Path of a project module such as `wagle.attribution.topk`, or of a user's module.

    A user's module is one on the import path. Only source files count: an installed package
    (anything under site-packages) gives None, as does a module that is not there.
    """
    parts = module.split(".")
    roots = [
        ROOT,
        Path.cwd(),
        *(Path(p) for p in sys.path if p and "site-packages" not in p and "lib/python" not in p),
    ]
    for root in roots:
        stem = root.joinpath(*parts)
        for candidate in (stem.with_suffix(".py"), stem / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


@functools.cache
def _tree(path: Path) -> ast.Module:
    """The syntax tree of a file without docstrings. A tree has no comments and no formatting."""
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as error:
        raise WagleError(f"{path} is not valid Python: {error}", do="mend the file") from None
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            is_constant = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            if is_constant and isinstance(first.value.value, str):
                node.body = node.body[1:] or [ast.Pass()]
    return tree


@functools.cache
def _digest(path: Path) -> str:
    return hashlib.sha256(ast.dump(_tree(path)).encode()).hexdigest()


@functools.cache
def _imports(path: Path) -> tuple[str, ...]:
    names = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # relative import: resolve against the package that holds this file
                package = (
                    path.resolve().relative_to(ROOT).parts[: -node.level]
                    if ROOT in path.resolve().parents
                    else ()
                )
                base = ".".join([*package, *([base] if base else [])])
            names.add(base)
            # `from wagle.attribution import topk` names a module.
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return tuple(sorted(names))


def closure(*roots: str) -> dict[str, Path]:
    """Project files that static imports reach from `roots`, by name.

    `roots` are names of modules or paths of scripts. Raises WagleError when one of them is missing.
    """
    files: dict[str, Path] = {}
    pending = list(roots)
    while pending:
        name = pending.pop()
        if name in files:
            continue
        path = ROOT / name if name.endswith(".py") else module_file(name)
        if path is None or not path.is_file():
            if name in roots:
                raise WagleError(
                    f"module {name!r} was not found",
                    "a file of this project or on PYTHONPATH",
                    "check the `module:` entries of the config",
                )
            continue
        files[name] = path
        pending.extend(_imports(path))
    return files


@functools.cache
def code_identity(*roots: str) -> str:
    """`<sha256>:<root>,<root>...` over the code that `roots` reach.

    The roots stay readable so that a job can check itself. Raises WagleError when a root does not
    exist or does not parse.
    """
    lines = "\n".join(f"{name} {_digest(path)}" for name, path in sorted(closure(*roots).items()))
    return hashlib.sha256(lines.encode()).hexdigest() + ":" + ",".join(roots)


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
    """The literal value of a module-level constant, or `default` where there is none.

    The module is not imported, because its imports may be heavy. Raises WagleError when there is no
    such module.
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
    """Names of the keyword-only parameters of a function: the options that a config may set.

    Raises WagleError when there is no such module or function.
    """
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
def _project_digest() -> str:
    files = sorted([*ROOT.glob("wagle/**/*.py"), *ROOT.glob("workflow/scripts/*.py")])
    rules = sorted([ROOT / "Snakefile", *ROOT.glob("rules/*.smk")])
    digests = [_digest(path) for path in files]
    digests += [hashlib.sha256(path.read_bytes()).hexdigest() for path in rules]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def fingerprint(config: dict, *modules: str) -> str:
    """One hash over a config, all of the project's code and the user's `modules`.

    It is equal for all jobs of a run whose code and config nobody edited.
    """
    parts = canonical(config) + _project_digest() + code_identity(*modules)
    return hashlib.sha256(parts.encode()).hexdigest()


def file_hash(path: str) -> str:
    """sha256 of a project file that is not code, such as a report's template."""
    return hashlib.sha256((ROOT / path).read_bytes()).hexdigest()
