"""Code identity: meaning counts, looks do not, and a change after planning stops the job."""

import pytest

from wagle.errors import WagleError
from wagle.runtime import handover, identity

FIRST = "import top\n\ndef f(x):\n    return top.g(x)\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv(handover.WORKFLOW, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first.py").write_text(FIRST)
    (tmp_path / "top.py").write_text("import json\n\ndef g(x):\n    return x + 1\n")
    (tmp_path / "other.py").write_text("y = 1\n")

    def fresh():
        for function in (
            identity._tree,
            identity._digest,
            identity._imports,
            identity.code_identity,
        ):
            function.cache_clear()
        return identity.code_identity("first.py")

    return tmp_path, fresh


@pytest.mark.parametrize(
    ("file", "text", "same"),
    [
        ("first.py", "# a comment\n" + FIRST, True),
        ("first.py", '"""A docstring."""\n' + FIRST.replace("return", "return  "), True),
        ("first.py", FIRST.replace("def f(x):\n", 'def f(x):\n    """What f does."""\n'), True),
        ("first.py", FIRST.replace("top.g(x)", "top.g(x) + 0"), False),
        ("top.py", "import json\n\ndef g(x):\n    return x + 2\n", False),
        ("other.py", "y = 2\n", True),
    ],
)
def test_what_changes_the_identity(project, file, text, same):
    folder, fresh = project
    before = fresh()
    (folder / file).write_text(text)
    assert (fresh() == before) is same


def test_closure_follows_imports_inside_functions_and_from(project):
    folder, _ = project
    (folder / "third.py").write_text("def h():\n    from other import y\n    return y\n")
    assert set(identity.closure("third.py")) == {"third.py", "other"}


def test_a_job_notices_code_changed_after_planning(project):
    folder, fresh = project
    planned = fresh()
    identity.check_code_identity(planned)
    (folder / "top.py").write_text("def g(x):\n    return x * 2\n")
    fresh()
    with pytest.raises(WagleError, match="changed after this job was planned"):
        identity.check_code_identity(planned)


def test_a_runs_fingerprint_covers_modules_from_outside(project, monkeypatch):
    monkeypatch.setattr(identity, "_project_digest", lambda hosted: "the project's own code")
    folder, fresh = project
    before = identity.fingerprint({}, "first")
    (folder / "top.py").write_text("def g(x):\n    return x * 2\n")
    fresh()
    assert identity.fingerprint({}, "first") != before
    assert (
        identity.fingerprint({}, "first")
        == identity.fingerprint({}, "first")
        != identity.fingerprint({"a": 1}, "first")
    )


def test_missing_and_broken_modules(project):
    folder, _ = project
    with pytest.raises(WagleError, match="not found"):
        identity.code_identity("no_such_module")
    (folder / "broken.py").write_text("def (")
    with pytest.raises(WagleError, match="not valid Python"):
        identity.code_identity("broken.py")


def test_canonical_ignores_key_order_and_keeps_values():
    assert identity.canonical({"a": 1, "b": [1.0, None]}) == identity.canonical(
        {"b": [1.0, None], "a": 1}
    )
    assert identity.canonical({"lr": 1e-5, "wd": 0.1}) != identity.canonical(
        {"lr": 0.1, "wd": 1e-5}
    )


def test_literals_are_read_without_importing():
    assert identity.constant("wagle.scores.wagle", "NEEDS") == ("forget", "retain")
    assert identity.constant("wagle.objectives.po", "FORGET_LABELS") == "refusal"
    assert identity.keyword_options("wagle.objectives.npo", "loss") == (
        "beta",
        "size",
        "retain_weight",
    )
    assert identity.constant("wagle.evaluation.protocols", "PROTOCOLS")["tofu"]["rows"] == 300


def test_package_data_is_part_of_an_identity_that_names_it(project, monkeypatch):
    assets = project[0] / "wagle" / "assets"
    assets.mkdir(parents=True)
    (assets / "claims.yaml").write_text("level: 0.9\n")
    monkeypatch.setattr(identity, "ROOT", project[0])
    before = identity.code_identity("first.py", "wagle/assets/claims.yaml")
    (assets / "claims.yaml").write_text("level: 0.95\n")
    project[1]()
    after = identity.code_identity("first.py", "wagle/assets/claims.yaml")
    assert before != after and after.endswith(":first.py,wagle/assets/claims.yaml")


def test_relative_imports_of_a_users_package_are_followed(project):
    folder, _ = project
    (folder / "mine").mkdir()
    (folder / "mine" / "score.py").write_text("from .helper import f\n")
    (folder / "mine" / "helper.py").write_text("f = 1\n")
    assert set(identity.closure("mine.score")) == {"mine.score", "mine.helper"}


def test_an_installed_wagle_counts_no_package_beside_it_as_the_projects(project, monkeypatch):
    """In site-packages the folder above wagle holds every other package too."""
    beside = project[0] / "site-packages"
    beside.mkdir()
    (beside / "torch.py").write_text("x = 1\n")
    monkeypatch.setattr(identity, "ROOT", beside)
    monkeypatch.syspath_prepend(beside)
    assert identity.module_file("torch") is None


def test_without_a_workflow_the_error_says_where_to_start(tmp_path, monkeypatch):
    monkeypatch.delenv(handover.WORKFLOW, raising=False)
    monkeypatch.setattr(handover, "ROOT", tmp_path / "site-packages")
    monkeypatch.chdir(tmp_path)
    identity.code_identity.cache_clear()
    with pytest.raises(WagleError, match=r"no workflow in .* Expected: the folder of a checkout"):
        identity.code_identity("workflow/scripts/split.py")
