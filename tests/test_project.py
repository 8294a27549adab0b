"""The project's own promises.

Pinned files are in step, scripts are thin, rules use `script:` only, nothing is pickled, and
documents name only what exists.
"""

import argparse
import ast
import importlib
import re
import textwrap
import tomllib

import pytest
import yaml

from wagle.cli.main import build_parser
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
    light = "wagle.experiment.config, wagle.experiment.grid, wagle.runtime.identity"
    code = f"import sys, {light}; print([m for m in {heavy} if m in sys.modules])"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert printed.strip() == "[]"


# --- documents ---

PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
PAGES += [path for path in sorted(ROOT.glob("*/README.md"))]
PAGES += [ROOT / "results" / "reference" / "README.md"]
PLACEHOLDERS = re.compile(r"[<>*]|\.\.\.")


def page_id(path):
    return str(path.relative_to(ROOT))


def prose(text):
    """The lines of a page without tables, code blocks and indented blocks."""
    inside = False
    for line in text.splitlines():
        if line.strip().startswith("```"):
            inside = not inside
        elif not inside and not line.startswith(("|", "    ")):
            yield line


def anchors(path):
    """Names of a page's headings, as links write them."""
    heads = [line.lstrip("#").strip() for line in prose(path.read_text()) if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", head).lower().replace(" ", "-") for head in heads}


def code_blocks(path, language):
    """Code blocks of a page, without the indentation of a list that they stand in."""
    blocks = re.findall(rf"^ *```{language}\n(.*?)^ *```", path.read_text(), re.M | re.S)
    return [textwrap.dedent(block) for block in blocks]


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_of_a_page_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith(("http:", "https:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_prose_of_a_page_is_at_most_100_columns_wide(page):
    assert [line for line in prose(page.read_text()) if len(line) > 100] == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_files_that_a_page_names_exist(page):
    """Configs anywhere, and other files of the project in code font."""
    text = page.read_text()
    for name in re.findall(r"\bconfig/[\w-]+\.yaml", text):
        assert (ROOT / name).exists(), name
    if page.name == "CHANGELOG.md":  # it also names what is gone
        return
    folders = "wagle|rules|workflow|tests|benchmarks|profiles|docs|config"
    for name in re.findall(rf"`((?:{folders})/[^`\s]*)`", text):
        assert PLACEHOLDERS.search(name) or (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_that_a_page_names_exist(page):
    """`wagle COMMAND --option` is one that `wagle --help` and `wagle COMMAND --help` list."""
    help_text = build_parser().format_help()
    commands = re.search(r"\{([\w,-]+)\}", help_text).group(1).split(",")
    named = re.findall(
        r"(?:^|`|\$ |-m )wagle ([a-z-][\w-]*)((?:[^\n`#]|\\\n)*)", page.read_text(), re.M
    )
    for command, rest in named:
        if command == "--help":
            continue
        assert command in commands, command
        parser = argparse.ArgumentParser()
        module = importlib.import_module(f"wagle.cli.{command.replace('-', '_')}")
        module.add_arguments(parser)
        for option in re.findall(r"(?<!\S)(--[\w-]+)", rest):
            assert option in parser._option_string_actions, f"wagle {command} {option}"


def test_readme_diagram_has_the_rules():
    """Only the names are compared: `python docs/make_diagram.py --check` compares the arrows too."""
    text = (ROOT / "README.md").read_text()
    block = re.search(r"```mermaid\n(.*?)```", text, re.S).group(1)
    boxes = dict(re.findall(r'^\s+(\w+)\["([^"]+)"\]', block, re.M))
    files = ("models", "attribution", "unlearning", "evaluation", "paper")
    rules = {
        name
        for stem in files
        for name in re.findall(r"^rule (\w+):", (ROOT / "rules" / f"{stem}.smk").read_text(), re.M)
    }
    assert boxes.keys() == rules
    assert all(label.startswith(f"{name}: ") for name, label in boxes.items())
    arrows = re.findall(r"^\s+(\w+) --> (\w+)", block, re.M)
    assert {name for arrow in arrows for name in arrow} == rules


def test_readme_results_are_those_of_the_reference_runs():
    text = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| `([\w-]+)` \|[^|]*\|(.*)\|\n", text, re.M)
    rows = [(name, [cell.strip() for cell in cells.split("|")]) for name, cells in rows]
    shown = [row for row in rows if len(row[1]) == 4]
    assert len(shown) >= 10
    for name, (method, selection, efficacy, utility) in shown:
        table = ROOT / "results" / "reference" / name / "table1-wagle.md"
        lines = [line for line in table.read_text().splitlines() if line.startswith("| ")]
        cells = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines]
        cells = [[cell.replace("**", "") for cell in line] for line in cells]
        head = cells[0]
        wanted = [selection, ""] if not method else [method, selection]
        [found] = [line for line in cells if line[:2] == wanted]
        assert found[head.index("UE Avg")] == efficacy, (name, wanted)
        assert found[head.index("UT Avg")] == utility, (name, wanted)


def test_readme_explains_every_word_of_the_tables():
    text = (ROOT / "README.md").read_text()
    glossary = text.split("\n## Words\n")[1].split("\n## ")[0]
    words = re.findall(r"^\| ([^|]+) \|", glossary, re.M)
    words = {word.strip(" *") for entry in words for word in entry.split(",")}
    terms = "UE UT FQ MIA FA GradDiff NPO PO TOFU WMDP WHP DETOX cell protocol selection ratio"
    terms += " sparsity gamma target original retrained record DAG score mask"
    missing = [term for term in terms.split() if term not in words]
    assert not missing


def test_architecture_lists_every_module():
    text = (ROOT / "docs" / "architecture.md").read_text()
    for path in LIBRARY:
        package, name = path.parent.name, path.name
        if name == "__init__.py":
            continue
        known = f"`{package}/{name}`" in text
        if not known and package != "wagle":
            sections = re.findall(rf"^### [^\n]*`wagle/{package}/`.*?(?=^##)", text, re.M | re.S)
            known = any(f"`{name}`" in section for section in sections)
        assert known, f"{package}/{name}"


def test_examples_of_extending_are_those_that_the_workflow_test_runs():
    """Comments aside. The metric's example changes the library, so it only has to be valid."""
    tree = ast.parse((ROOT / "tests" / "test_workflow.py").read_text())
    tested = {
        node.targets[0].id.lower(): ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).startswith("MY_")
    }
    blocks = code_blocks(ROOT / "docs" / "extending.md", "python")
    shown = {
        match.group(1): block for block in blocks if (match := re.match(r"# (my_\w+)\.py\n", block))
    }
    assert shown.keys() == tested.keys()
    for name, block in shown.items():
        assert ast.dump(ast.parse(block)) == ast.dump(ast.parse(tested[name])), name


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_of_a_page_is_valid(page):
    for block in code_blocks(page, "python"):
        if "\nmodule wagle:" not in block:  # the language of workflows, not Python
            ast.parse(block)
    for block in code_blocks(page, "yaml"):
        yaml.safe_load(block)
