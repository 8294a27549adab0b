"""The command line: every command has its module, help starts at once, and errors are one line."""

import importlib
import subprocess
import sys

import pytest

from wagle.cli.main import COMMANDS, build_parser, main
from wagle.runtime.identity import ROOT

HEAVY = ("torch", "transformers", "pandas", "numpy")
RUN = f"""
import sys
from wagle.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
modules = [name for name in {HEAVY} if name in sys.modules]
commands = sorted(name for name in sys.modules if name.startswith("wagle.cli."))
print("LOADED", code, modules, commands, file=sys.stderr)
"""


def start(*arguments):
    """What a fresh process printed, and a line with its exit code and the modules it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr.splitlines()[-1]


def test_help_lists_every_command_and_loads_nothing_heavy():
    printed, loaded = start("--help")
    for name in COMMANDS:
        help_line = importlib.import_module(f"wagle.cli.{name.replace('-', '_')}").HELP
        assert name in printed and help_line[:30] in " ".join(printed.split())
    assert loaded.startswith("LOADED 0 []")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("validate", "config/config.yaml"), 0),
        (("audit", "no/such/folder"), 1),
    ],
)
def test_checks_load_nothing_heavy_and_no_other_command(arguments, code):
    _, loaded = start(*arguments)
    modules = sorted(["wagle.cli.main", f"wagle.cli.{arguments[0]}"])
    assert loaded == f"LOADED {code} [] {modules}"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_alone_has_the_arguments_that_it_has_among_all(name, capsys):
    helps = []
    for parser in (build_parser(), build_parser(name)):
        with pytest.raises(SystemExit):
            parser.parse_args([name, "--help"])
        helps.append(capsys.readouterr().out)
    assert helps[0] == helps[1] and "usage: wagle " + name in helps[0]


def test_an_unknown_command_names_the_known_ones(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["odit"])
    assert stop.value.code == 2 and "audit" in capsys.readouterr().err


def test_the_module_is_the_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "wagle", "audit", "no/such/folder"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and done.stderr.startswith("error: no/such/folder is not a folder")
