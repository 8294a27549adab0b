"""Configs: every shipped one is valid and complete.

A typo is named with its path and the allowed values.
"""

import copy

import pytest
import yaml

from wagle.errors import WagleError
from wagle.experiment import config, grid
from wagle.experiment.cells import Cell
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
            "wagle.objectives.mine.*not found",
        ),
        ("selections.mine", {}, "wagle.scores.mine.*not found"),
        ("selections.wagle", {}, "selections.wagle has no gamma"),
        (
            "figures.density_module.selections",
            ["wagel"],
            r"unknown name 'wagel' \(did you mean 'wagle'\?\)",
        ),
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
    assert (
        grid.draw_name(QUICK, "magnitude", 3) == "all" and grid.draw_name(QUICK, "snip", 3) == "all"
    )
    assert {grid.draw_name(QUICK, name, 3) for name in ("random", "wanda", "wagle")} == {"seed-3"}
