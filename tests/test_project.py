"""The project's own promises: pinned files in step, thin scripts, rules by `script:` alone, no pickle, complete README."""

import ast
import re
import tomllib

import pytest
import yaml

from wagle.runtime.identity import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RULES = sorted(path for path in (ROOT / "rules").glob("*.smk") if path.stem != "common")
SCRIPTS = sorted((ROOT / "workflow" / "scripts").glob("*.py"))
LIBRARY = sorted((ROOT / "wagle").rglob("*.py"))


def test_the_conda_environment_has_the_tested_versions():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pip == pins, "run: make environment.yml"


def test_pinned_requirements_satisfy_pyproject():
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), text


@pytest.mark.parametrize("path", RULES, ids=lambda p: p.name)
def test_rules_are_complete_and_use_scripts(path):
    text = path.read_text()
    bodies = re.findall(r"^rule (\w+):\n((?:    .*\n|\n)+)", text, re.M)
    assert len(bodies) == len(re.findall(r"^rule ", text, re.M)) > 0, path
    for name, body in bodies:
        for directive in (
            "output:",
            "log:",
            "benchmark:",
            "conda:",
            "resources:",
            "params:",
            "script:",
            "manifest=",
        ):
            assert directive in body, f"rule {name} has no {directive}"
        assert "code=" in body and "shell:" not in body and "run:" not in body, name


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_scripts_are_thin_and_recorded(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= 66, f"{path.name} has {len(lines)} lines"
    assert any("recorded(snakemake)" in line for line in lines)
    assert lines[0].startswith('"""')


def test_modules_are_small_and_say_what_they_are():
    for path in LIBRARY:
        text = path.read_text()
        assert len(text.splitlines()) <= 450, path.name
        assert text.startswith('"""') or (path.name == "__init__.py" and not text.strip()), (
            path.name
        )


def test_nothing_reads_pickles_or_evaluates_text():
    for path in [*LIBRARY, *SCRIPTS]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert not names & {"pickle", "dill", "joblib", "marshal", "shelve"}, path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "torch.load", "yaml.load", "np.load"), (
                    f"{path}: {called}"
                )


def test_the_light_modules_stay_light():
    """What Snakemake imports on every start must not pull in torch, transformers or pandas."""
    import subprocess
    import sys

    heavy = ("torch", "transformers", "pandas", "numpy")
    code = f"import sys; import wagle.experiment.config, wagle.experiment.grid, wagle.runtime.identity; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert found.strip() == "[]"


def test_readme_names_what_exists():
    text = (ROOT / "README.md").read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("http") or (ROOT / link).exists(), link
    for config in re.findall(r"config/[\w-]+\.yaml", text):
        assert (ROOT / config).exists(), config
