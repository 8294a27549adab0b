"""The config's models: what they refuse and say, and that the JSON schema and the page made from
them are in step.
"""

import copy
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from wagle.errors import WagleError
from wagle.experiment import schema, schema_docs, schema_json

QUICK = yaml.safe_load((Path(schema_docs.ROOT) / "config" / "config.yaml").read_text())
SCHEMA = schema_json.json_schema(schema.Experiment)


def changed(path, value):
    result = copy.deepcopy(QUICK)
    *parents, last = path.split(".")
    block = result
    for key in parents:
        block = block[key]
    block[last] = value
    return result


METHOD = {"lr": 1.0e-5, "epochs": 1, "weight_decay": 0, "ratio": 1}
NUMBER = r"methods\.npo\.lr is the text '{}', but must be a number \({}\)"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "unlearning.clipp",
            1.0,
            r"my.yaml: unknown key 'clipp' at unlearning \(did you mean 'clip'\?\);"
            r" allowed: .*clip",
        ),
        ("sedes", [1], r"unknown key 'sedes' at the top level \(did you mean 'seeds'\?\)"),
        ("unlearning.precision", "fp16", "unlearning.precision is 'fp16'; allowed: 'fp32', 'bf16'"),
        ("methods.npo.lr", "1e-5", NUMBER.format("1e-5", "YAML reads 1e-5 as text; write 1.0e-5")),
        ("methods.npo.lr", "1e5", NUMBER.format("1e5", r"YAML reads 1e5 as text; write 1.0e\+5")),
        ("methods.npo.lr", "5", NUMBER.format("5", "write it without quotes")),
        ("methods.npo.lr", True, "methods.npo.lr is True, but must be a number"),
        ("methods.npo.lr", float("nan"), "methods.npo.lr is nan, but must be a finite number"),
        ("methods.npo.lr", 10**400, "methods.npo.lr is 1000*.*, but must be a number"),
        ("methods.npo.lr", 0, "methods.npo.lr is 0, but must be greater than 0"),
        ("methods.npo.epochs", 5.0, "methods.npo.epochs is 5.0, but must be a whole number"),
        ("methods.npo.options", {"beta": [1]}, "options.beta is .1., but must be a number, a text"),
        (
            "methods.mine",
            {"lr": 1, "weight_decay": 0, "ratio": 1},
            "'epochs' or 'steps' is a required property at methods.mine",
        ),
        ("methods.retrained", METHOD, "name 'retrained' at methods must be another name"),
        ("methods.my one", METHOD, "name 'my one' at methods must be a name of letters"),
        (
            "models.base.source",
            "hubb",
            r"models.base has source 'hubb'; its source must be one of "
            r"'hub', .*'scratch' \(did you mean 'hub'\?\)",
        ),
        ("models.base", {"name": "x"}, "models.base is .*; its source must be one of 'hub'"),
        ("models.base", 3, "models.base is 3, but must be a mapping"),
        ("models.base.layerz", 2, r"key 'layerz' at models.base \(did you mean 'layers'\?\)"),
        ("models.target", {"source": "path"}, "'path' is a required property at models.target"),
        ("data.splits.forget", {"name": "../secret"}, "data.splits.forget.name is '../secret'"),
        (
            "data.splits.forget",
            [{"form": "quiz"}],
            "'task' is a required property with form quiz at data.splits.forget.0",
        ),
        ("data.splits.Mine", {}, "name 'Mine' at data.splits must be a name of lower-case letters"),
        ("experiment", "../elsewhere", "experiment is '../elsewhere', but must be a name of"),
        ("task", "my tasks", "task is 'my tasks', but must be the dotted .* such as tofu, "),
        ("seeds", [], "seeds is .., but must hold 1 or more items"),
        ("seeds", [1, 1], "seeds is .1, 1., but must hold each value once"),
        ("seeds", [1, True], "seeds.1 is True, but must be a whole number"),
        ("data_dir", 3, "data_dir is 3, but must be a text or null"),
        ("evaluation.protocols", ["tofu"], "evaluation.protocols is .* must have wagle among them"),
        (
            "figures.density",
            {"selections": ["wagle"], "ratio": 0.8},
            r"'module' is a required property at figures.density \(did you mean 'density_",
        ),
        ("selections", {}, "selections is {}, but must have at least one selection"),
    ],
)
def test_mistakes_are_named(path, value, message):
    with pytest.raises(WagleError, match=message):
        schema.check(changed(path, value), "my.yaml")


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_what_is_no_mapping_is_refused(value):
    with pytest.raises(WagleError, match=r"the top level is .*, but must be a mapping"):
        schema.check(value, "my.yaml")


def test_missing_keys_are_named_five_at_most():
    broken = copy.deepcopy(QUICK)
    del broken["unlearning"]["clip"]
    with pytest.raises(WagleError, match="'clip' is a required property at unlearning"):
        schema.check(broken, "my.yaml")
    with pytest.raises(WagleError, match=r"('\w+' is a required .*){5}and 11 more errors"):
        schema.check({}, "my.yaml")


def test_keys_that_are_no_text_are_named():
    broken = copy.deepcopy(QUICK) | {1: 1}
    broken["models"]["base"][None] = 1
    with pytest.raises(WagleError, match=r"key .None. at models.base; .*key 1 at the top"):
        schema.check(broken, "my.yaml")


def test_a_users_own_task_splits_and_figures_pass():
    own = copy.deepcopy(QUICK) | {"task": "my_tasks.law"}
    own["data"]["splits"]["contracts"] = [{"rows": [0, 2]}, {"rows": [4, 6]}]
    own["figures"]["mine"] = {"module": "my_figures.one", "colours": ["red"], "width": 3}
    before = copy.deepcopy(own)
    schema.check(own, "my.yaml")
    assert own == before


def objects(node):
    if isinstance(node, dict):
        yield from [node] * ("properties" in node)
        for inside in node.values():
            yield from objects(inside)


def test_every_key_is_described():
    for made in objects(SCHEMA):
        for name, node in made["properties"].items():
            text = {**schema_docs.resolved(node, SCHEMA), **node}["description"]
            optional = name not in made.get("required", ["module", "epochs", "steps"])
            assert text.endswith(".") and ("Absent: " in text or not optional), (name, text)


def test_files_are_in_step_with_the_models():
    do = "run python -m wagle.experiment.schema_docs"
    assert json.loads(schema_docs.SCHEMA.read_text(encoding="utf-8")) == SCHEMA, do
    page = schema_docs.PAGE.read_text(encoding="utf-8")
    assert page == schema_docs.config_markdown(), do
    assert all(len(line) <= 100 for line in page.splitlines() if not line.startswith("|"))


VALUES = [None, True, -1, 0, 1.5, "", "zzz", "1e-5", [], {}, ["zzz"], ["a", "a"], {"zzz": 1}]


def mutations(value, put):
    """Configs with one place changed; `put` makes one from the new value of this place."""
    for new in VALUES:
        yield put(new)
    if isinstance(value, dict):
        yield put({**value, "zzz": 1})
        for key, inside in value.items():
            yield put({k: v for k, v in value.items() if k != key})
            yield from mutations(inside, lambda new, k=key: put({**value, k: new}))
    if isinstance(value, list):
        for i, inside in enumerate(value):
            yield put(value[:i])
            yield from mutations(inside, lambda new, i=i: put([*value[:i], new, *value[i + 1 :]]))


def test_schema_for_editors_agrees_with_the_models():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    editor = jsonschema.Draft202012Validator(SCHEMA)
    for config in mutations(QUICK, lambda new: new):
        try:
            schema.Experiment.model_validate(config)
            accepted = True
        except ValidationError:
            accepted = False
        assert editor.is_valid(config) == accepted, list(editor.iter_errors(config))


def test_importing_the_models_is_light():
    code = "import sys, wagle.experiment.schema; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "numpy", "pandas", "transformers", "jsonschema"}
    assert not heavy & set(done.stdout.split())
