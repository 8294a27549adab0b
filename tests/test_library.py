"""docs/library.md does what it says, and the library gives what the pipeline's files would."""

import copy

import pytest
import torch
from test_project import code_blocks

from wagle import library
from wagle.attribution.attribution import write_masks, write_scores
from wagle.attribution.gradients import accumulate
from wagle.attribution.masks import load
from wagle.attribution.score_inputs import retain_sample, write_gradients
from wagle.data.encoding import encode_rows
from wagle.errors import WagleError
from wagle.runtime.identity import ROOT

TEMPLATE = "{question} {answer}"


def pairs(rows):
    return [{"question": row["question"], "answer": row["answer"]} for row in rows]


def test_the_document_runs(checkpoint, rows, monkeypatch):
    """Its blocks in their order, with a tiny model as `my-model` and rows of our own."""
    monkeypatch.chdir(checkpoint.parent)
    checkpoint.rename(checkpoint.with_name("my-model"))
    main, data, lora = code_blocks(ROOT / "docs" / "library.md", "python")
    lines = [line for line in main.splitlines() if line and not line.startswith("from ")]
    assert len(lines) <= 10
    names = {}
    exec(data, names)
    assert [row.keys() for row in names["forget"] + names["retain"]] == [{"question", "answer"}] * 2
    names |= {role: pairs(rows[role]) for role in ("forget", "retain")}
    exec(main, names)
    before, after, record = names["before"], names["after"], names["record"]
    assert record["frozen_moved"] == 0 and record["share_moved"] > 0.9
    selected = sum(int(mask.sum()) for mask in names["mask"].values())
    assert record["selected"] == selected
    assert selected == round(0.8 * sum(mask.numel() for mask in names["mask"].values()))
    assert after["1-probability"]["value"] > before["1-probability"]["value"]
    assert set(before["UE Avg"]) == {"value", "se", "n"}
    exec(lora, names)
    assert names["adapted"].record["frozen_moved"] == 0


def test_masks_are_those_of_the_pipelines_files(model, tokenizer, checkpoint, rows, tmp_path):
    forget, retain = pairs(rows["forget"]), pairs(rows["retain"])
    own = library.Rows(forget, retain, template=TEMPLATE, max_length=64)
    scores = library.score(model, tokenizer, own, "wagle", gamma=1e-3, seed=3)
    files = {}
    for name, chosen in (
        ("forget", forget),
        ("retain", retain_sample(retain, len(forget), 3)),
    ):
        encoded = encode_rows(tokenizer, chosen, template=TEMPLATE, max_length=64)
        sums = accumulate(model, encoded, tokenizer.pad_token_id, library.TOKENS).by_name
        files[name] = tmp_path / name
        write_gradients(files[name], sums, "sum", len(encoded))
    options = {"options": {"gamma": 1e-3}, "seed": 3}
    write_scores(tmp_path / "scores", "wagle.scores.wagle", checkpoint, files, **options)
    write_masks([tmp_path / "mask"], tmp_path / "scores", checkpoint, [0.5], "global", {})
    expected, found = dict(load(tmp_path / "mask")), library.mask(scores, 0.5)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    again = library.Scores.by_name(scores)
    assert {name: list(value.shape) for name, value in again.items()} == {
        name: list(parameter.shape) for name, parameter in model.named_parameters()
    }


def test_row_wise_scores_and_a_method_with_refusals(model, tokenizer, rows):
    own = library.Rows(pairs(rows["forget"]), pairs(rows["retain"]), template=TEMPLATE)
    mask = library.mask(library.score(model, tokenizer, own, "wanda"), 0.25)
    start = copy.deepcopy(model.state_dict())
    options = {"method_options": {"retain_weight": 1.0}, "steps": 2, "lr": 1e-3}
    result = library.unlearn(model, tokenizer, own, "po", mask, **options)
    assert result.model is model and result.record["steps"] == 2
    for name, parameter in model.named_parameters():
        same = start[name] == parameter
        assert same[~mask[name]].all() and not same[mask[name]].all()


def test_rows_are_checked_at_once(rows):
    forget = pairs(rows["forget"])
    with pytest.raises(WagleError, match="in both forget and retain"):
        library.Rows(forget, forget)
    with pytest.raises(WagleError, match="no column 'question'"):
        library.Rows([{"prompt": "a"}], forget)
    with pytest.raises(WagleError, match="template"):
        library.Rows(forget, pairs(rows["retain"]), template="{question}")
