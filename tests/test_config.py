"""Configs: every shipped one is valid and complete.

A typo is named with its path and the allowed values.
"""

import copy

import pytest
import yaml

from wagle.errors import WagleError
from wagle.experiment import config, grid
from wagle.experiment.cells import Cell
from wagle.experiment.draws import Draw
from wagle.experiment.settings import settings_of
from wagle.runtime.identity import ROOT

SHIPPED = sorted((ROOT / "config").glob("*.yaml"))
QUICK = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_configs_are_valid(path, tmp_path):
    text = path.read_text()
    head = [line for line in text.splitlines() if line.startswith("#")]
    for word in ("Purpose", "Prerequisites", "Command", "Duration"):
        assert any(word in line for line in head), (
            f"{path.name} does not open with its {word.lower()}"
        )
    loaded = yaml.safe_load(text) | {"data_dir": str(tmp_path)}
    config.validate(loaded, path.name)
    cells = grid.all_cells(loaded)
    assert len({cell.id for cell in cells}) == len(cells)
    assert [Cell.parse(cell.id) for cell in cells] == cells


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"module": "wagle.objectives.pdu"}, r"methods\.mine\.options has no eps"),
        ({"module": "wagle.objectives.rmu"}, "reads layer 7, and the model has 4 blocks"),
        ({"module": "wagle.objectives.rmu", "options": {"layer": -1}}, "reads layer -1"),
        ({"module": "wagle.objectives.dpo"}, "needs refusal answers"),
    ],
)
def test_an_objective_is_checked_before_a_model_loads(method, message):
    common = {"lr": 1e-3, "epochs": 1, "weight_decay": 0.1, "ratio": 0.5}
    loaded = copy.deepcopy(QUICK)
    loaded["methods"] = {"mine": common | method}
    if method["module"].endswith("dpo"):
        del loaded["data"]["splits"]["refusals"]
    with pytest.raises(WagleError, match=message):
        config.validate(loaded, "mine.yaml")


def test_paper_grid_is_the_papers():
    loaded = yaml.safe_load((ROOT / "config" / "paper-tofu.yaml").read_text())
    cells = [cell for cell in grid.table_cells(loaded) if cell.method not in grid.BASELINES]
    assert len(cells) == 3 * 6 * 6
    published = {"graddiff": (7e-6, 0.95), "npo": (1e-5, 0.95), "po": (2e-5, 0.8)}
    assert {m: (o["lr"], o["ratio"]) for m, o in loaded["methods"].items()} == published
    assert loaded["selections"]["wagle"]["gamma"] == 1e-6
    assert loaded["methods"]["npo"]["steps"] == 400


def changed(path, value):
    result = copy.deepcopy(QUICK)
    *parents, last = path.split(".")
    block = result
    for key in parents:
        block = block[key]
    block[last] = value
    return result


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "unlearning.clipp",
            1.0,
            r"unknown key 'clipp' at unlearning \(did you mean 'clip'\?\); allowed: .*batch_size",
        ),
        ("sedes", [1], r"unknown key 'sedes' at the top level \(did you mean 'seeds'\?\)"),
        ("unlearning.precision", "fp16", "unlearning.precision is 'fp16'; allowed: 'fp32', 'bf16'"),
        ("methods.npo.lr", "1e-5", r"methods\.npo\.lr is the text '1e-5'.*write 1\.0e-5"),
        ("models.base.source", "hugging", "models.base.*must be one of"),
        ("models.base.layerz", 2, "unknown key 'layerz'"),
        (
            "methods.npo.options",
            {"betta": 0.1},
            r"methods\.npo\.options: unknown name 'betta' \(did you mean 'beta'\?\)",
        ),
        (
            "methods.mine",
            {"lr": 1.0, "epochs": 1, "weight_decay": 0.0, "ratio": 0.5},
            r"methods: unknown name 'mine'.*one of ceu, dpo, .*npo.*methods\.mine\.module",
        ),
        ("selections.mine", {}, r"selections: unknown name 'mine'.*selections\.mine\.module"),
        ("selections.wagle", {}, "selections.wagle has no gamma"),
        (
            "figures.density_module.selections",
            ["wagel"],
            r"unknown name 'wagel' \(did you mean 'wagle'\?\)",
        ),
        (
            "methods.npo.overrides",
            {"dens": {}},
            r"methods\.npo\.overrides: unknown name 'dens' \(did you mean 'dense'\?\)",
        ),
        (
            "methods.npo.overrides",
            {"dense": {"options": {"betta": 1.0}}},
            r"overrides\.dense\.options: unknown name 'betta'",
        ),
        ("methods.npo.overrides", {"dense": {"ratio": 0.5}}, "dense has ratio.*has a mask"),
        ("methods.npo.overrides", {"wagle": {"module": "x"}}, "unknown key 'module'"),
        ("methods.npo.official", ["label-spam"], "official.0 is 'label-spam'; allowed: 'all', "),
        ("data.source", "files", "data_dir is not set"),
        ("data.splits.forget", {"name": "../secret"}, "data.splits.forget.name"),
        ("experiment", "../elsewhere", "experiment"),
        ("template", "{answer}", "template"),
        ("seeds", [], "seeds"),
        ("evaluation.protocols", ["tofu"], "evaluation.protocols"),
    ],
)
def test_mistakes_are_named(path, value, message):
    with pytest.raises(WagleError, match=message):
        config.validate(changed(path, value))


def test_what_the_target_never_read_is_no_measure_of_forgetting():
    whp = yaml.safe_load((ROOT / "config" / "whp-quick.yaml").read_text()) | {"data_dir": "."}
    config.validate(whp)
    del whp["models"]["target"]["roles"]
    with pytest.raises(WagleError, match="tuned on forget, retain, and never reads the passages"):
        config.validate(whp)
    whp["models"]["target"]["roles"] = ["buch"]
    with pytest.raises(WagleError, match=r"models\.target\.roles reads the split 'buch'"):
        config.validate(whp)
    whp["models"]["target"] = {"source": "path", "path": "/model"}  # somebody else tuned it
    config.validate(whp)
    whp["data"]["splits"]["wikitext"]["form"] = "text"
    with pytest.raises(WagleError, match="no form: the harness makes documents"):
        config.validate(whp)


def test_missing_keys_are_named():
    broken = copy.deepcopy(QUICK)
    del broken["unlearning"]["clip"]
    with pytest.raises(WagleError, match="'clip' is a required property at unlearning"):
        config.validate(broken)


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_what_is_no_mapping_is_refused(value):
    with pytest.raises(WagleError):
        config.validate(value)


def test_unreadable_files(tmp_path):
    with pytest.raises(WagleError, match="no config file"):
        config.load(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(WagleError, match="not valid YAML"):
        config.load(tmp_path / "bad.yaml")


def test_cells_shared_by_table_and_sweeps_exist_once():
    cells = grid.all_cells(QUICK)
    table = grid.table_cells(QUICK)
    assert cells[: len(table)] == table
    main = Cell("npo", "wagle", 0.8, 1e-6, 1)
    assert (
        main in table
        and main in grid.sweep_cells(QUICK, QUICK["figures"]["ratio_sweep"])
        and cells.count(main) == 1
    )


def test_draws_follow_what_a_score_reads():
    assert {draw(QUICK, "npo", name) for name in ("magnitude", "snip")} == {"all"}
    assert {draw(QUICK, "npo", name) for name in ("random", "wanda", "wagle")} == {"seed-3"}


def draw(loaded, method, selection):
    return grid.draw_of(loaded, grid.make_cell(loaded, method, selection, 3)).name


def test_draws_name_labels_and_habits_that_the_score_reads():
    loaded = changed("methods.po.forget_labels", "refusal")
    loaded["methods"]["npo"]["official"] = ["label-span", "retain-draws", "frozen-decay"]
    loaded["methods"]["po"]["official"] = ["prompt-tag", "refusal-eos"]
    assert draw(loaded, "graddiff", "wagle") == "seed-3"
    assert draw(loaded, "npo", "wagle") == "seed-3+label-span+retain-draws"
    assert draw(loaded, "npo", "snip") == "all+label-span"
    assert draw(loaded, "npo", "wanda") == draw(loaded, "npo", "random") == "seed-3"
    assert draw(loaded, "po", "snip") == "seed-3+refusal+prompt-tag+refusal-eos"
    assert draw(loaded, "po", "wanda") == "seed-3+prompt-tag"
    assert draw(loaded, "po", "magnitude") == "all"
    made = Draw.parse(draw(loaded, "po", "wagle"))
    assert made.name == draw(loaded, "po", "wagle")
    assert made.folder("forget") == "gradients/forget-refusal+prompt-tag+refusal-eos/seed-3"
    assert made.folder("retain") == "gradients/retain+prompt-tag/seed-3"
    assert Draw.parse("seed-3").folder("forget") == "gradients/forget/all"
    assert Draw.parse("seed-3").folder("activations") == "activations/seed-3"


def test_a_narrower_block_goes_before_a_wider_one():
    loaded = changed("methods.npo.overrides", {
        "dense": {"options": {"retain_weight": 4.0}, "batch_size": 2, "steps": 7},
        "lora": {"lr": 1.0e-2, "least_moved": 0.5},
        "wagle": {"ratio": 0.3, "forget_labels": "refusal", "precision": "bf16"},
    })  # fmt: skip
    loaded["official"] = ["label-span"]
    dense, lora, wagle, plain = (
        settings_of(loaded, "npo", name) for name in ("dense", "lora", "wagle", "random")
    )
    assert dense.options == {"beta": 0.1, "size": "mean", "retain_weight": 4.0}
    assert plain.options["retain_weight"] == 1.0
    assert dense.training["steps"] == 7 and "epochs" not in dense.training
    assert (dense.training["batch_size"], plain.training["batch_size"]) == (2, 4)
    assert (lora.training["lr"], lora.least_moved) == (1.0e-2, 0.5)
    assert settings_of(loaded, "po", "lora").training["lr"] == 5.0e-3  # the selection's own
    assert plain.training["lr"] == 6.0e-4 and plain.least_moved == 0.01
    assert (wagle.ratio, wagle.forget_labels, wagle.training["precision"]) == (
        0.3,
        "refusal",
        "bf16",
    )
    assert (plain.ratio, plain.forget_labels, plain.training["precision"]) == (
        0.8,
        "answer",
        "fp32",
    )
    assert {each.habits for each in (dense, wagle, plain)} == {frozenset({"label-span"})}
    assert grid.make_cell(loaded, "npo", "wagle", 1).ratio == 0.3
    assert grid.make_cell(loaded, "npo", "wagle", 1, 0.95).ratio == 0.95
    config.validate(loaded)


def test_official_habits_become_options_of_the_library():
    loaded = changed("methods.npo.official", ["all"])
    loaded["methods"]["po"]["official"] = ["all"]
    npo, po = (settings_of(loaded, name, "wagle") for name in ("npo", "po"))
    assert npo.training.keys() - settings_of(QUICK, "npo", "wagle").training.keys() == {
        "decay_frozen",
        "decay_exempt",
        "retain_with_replacement",
    }
    assert npo.training["precision"] == "bf16"
    assert npo.encoding == {
        "template": r"[INST] {question} [\INST] {answer}",
        "max_length": 128,
        "text_padding": "in-loss-unattended",
        "last_prompt_token_in_loss": True,
    }
    refusals = {"refusals_end_with_eos": False, "refusals_attended_as_answers": True}
    assert po.encoding == npo.encoding | refusals
    assert settings_of(QUICK, "npo", "wagle").encoding == {
        "template": QUICK["template"],
        "max_length": 128,
    }
    config.validate(loaded)


@pytest.mark.parametrize(
    ("method", "template", "message"),
    [
        (
            {"official": ["bf16-weights"], "precision": "fp32"},
            None,
            "bf16-weights and precision fp32",
        ),
        ({"official": ["all"]}, "Q: {question} A: {answer}", "habit prompt-tag, but the template"),
    ],
)
def test_habits_that_fit_nothing_are_refused(method, template, message):
    loaded = copy.deepcopy(QUICK) | ({"template": template} if template else {})
    loaded["methods"]["npo"] |= method
    with pytest.raises(WagleError, match=message):
        config.validate(loaded)


def test_refusals_as_labels_need_refusals():
    loaded = changed("methods.npo.overrides", {"wagle": {"forget_labels": "refusal"}})
    del loaded["methods"]["po"], loaded["data"]["splits"]["refusals"]
    with pytest.raises(WagleError, match=r"methods\.npo needs refusal answers"):
        config.validate(loaded)


@pytest.mark.parametrize("override", [{"lr": 1.0e-3}, {"ratio": 0.5}])
def test_what_is_tuned_has_no_override(override):
    loaded = yaml.safe_load((ROOT / "config" / "tune-quick.yaml").read_text())
    method = next(iter(loaded["methods"]))
    loaded["methods"][method]["overrides"] = {"wagle": override}
    with pytest.raises(WagleError, match=r"overrides\.wagle has .*, which is tuned"):
        config.validate(loaded)
