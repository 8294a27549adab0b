"""Splits: what is refused before any model loads, and what the built-in generator promises."""

import gzip
import json

import pytest

from wagle.data import synthetic
from wagle.data.rows import (
    COLUMNS,
    MAX_FIELD,
    check_rows,
    check_together,
    columns,
    read_rows,
    write_rows,
)
from wagle.data.sources import load_split
from wagle.errors import WagleError

DATA = {"source": "files", "splits": {}}


def put(folder, name, rows, packed=True):
    path = folder / f"{name}.jsonl{'.gz' if packed else ''}"
    path.parent.mkdir(parents=True, exist_ok=True)
    opener = gzip.open if packed else open
    with opener(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return path


@pytest.mark.parametrize("packed", [True, False])
def test_files_keep_separators_inside_strings(tmp_path, packed):
    rows = [
        {"question": "a\u2028b\u0085c?", "answer": "yes"},
        {"question": "d?", "answer": "é", "extra": 1},
    ]
    put(tmp_path, "tofu/forget01", rows, packed)
    loaded = load_split("forget", {"name": "tofu/forget01"}, DATA, tmp_path)
    assert loaded == [{"question": row["question"], "answer": row["answer"]} for row in rows]
    write_rows(tmp_path / "rows.jsonl", loaded)
    assert read_rows(tmp_path / "rows.jsonl") == loaded


def test_rows_cut_a_slice_and_not_beyond(tmp_path):
    put(tmp_path, "full", [{"question": f"{i}?", "answer": "a"} for i in range(5)])
    assert [
        r["question"]
        for r in load_split("retain", {"name": "full", "rows": [1, 3]}, DATA, tmp_path)
    ] == ["1?", "2?"]
    with pytest.raises(WagleError, match="has 5 rows"):
        load_split("retain", {"name": "full", "rows": [1, 9]}, DATA, tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "is empty"),
        ([{"question": "q?"}], "no column 'answer'"),
        ([{"question": "q?", "answer": " "}], "row 0, column 'answer'"),
        ([{"question": 3, "answer": "a"}], "column 'question'"),
        ([{"question": "q", "answer": "a" * (MAX_FIELD + 1)}], "longer than"),
    ],
)
def test_wrong_rows_are_refused(tmp_path, rows, message):
    put(tmp_path, "bad", rows)
    with pytest.raises(WagleError, match=message):
        load_split("forget", {"name": "bad"}, DATA, tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"not gzip",
        gzip.compress(b"{broken\n", mtime=0),
        gzip.compress(b"[1]\n", mtime=0),
        gzip.compress(b"\xff\xfe\n", mtime=0),
        gzip.compress(b"{}\n" * 99, mtime=0)[:20],
    ],
)
def test_broken_files_are_refused(tmp_path, content):
    (tmp_path / "bad.jsonl.gz").write_bytes(content)
    with pytest.raises(WagleError, match="bad"):
        load_split("forget", {"name": "bad"}, DATA, tmp_path)


def test_missing_folder_and_file(tmp_path):
    with pytest.raises(WagleError, match="not a folder"):
        load_split("forget", {"name": "x"}, DATA, tmp_path / "nowhere")
    with pytest.raises(WagleError, match=r"no split 'x'.*x\.jsonl"):
        load_split("forget", {"name": "x"}, DATA, tmp_path)


def test_links_out_of_the_data_folder_are_refused(tmp_path):
    put(tmp_path / "secret", "rows", [{"question": "q", "answer": "a"}], packed=False)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.jsonl").symlink_to(tmp_path / "secret" / "rows.jsonl")
    with pytest.raises(WagleError, match="outside"):
        load_split("forget", {"name": "rows"}, DATA, tmp_path / "data")


@pytest.fixture
def splits():
    return {
        role: synthetic.split(role, 6, 2, 0)
        for role in ("forget", "retain", "forget_perturbed", "retain_perturbed")
    }


def test_splits_that_fit(splits):
    check_together(splits)


def test_a_perturbed_row_without_its_question_is_named(splits):
    broken = [dict(row) for row in splits["forget_perturbed"]]
    broken[4]["question"] += " "
    with pytest.raises(WagleError, match="forget_perturbed, row 4"):
        check_together(splits | {"forget_perturbed": broken})


def test_shared_rows_are_refused(splits):
    with pytest.raises(WagleError, match="both forget and retain"):
        check_together(splits | {"retain": splits["retain"] + splits["forget"][:1]})


def test_a_holdout_that_was_trained_on_is_refused(splits):
    check_together(splits | {"holdout": synthetic.split("holdout", 6, 2, 0)})
    with pytest.raises(WagleError, match="holdout shares rows with retain"):
        check_together(splits | {"holdout": splits["retain"][:1]})


def test_synthetic_rows_have_tofus_shape_and_follow_the_seed():
    for role in {*COLUMNS} - {
        "quiz",
        "wmdp_bio",
        "wmdp_cyber",
        "mmlu",
        "wikitext",
        "seen",
        "unseen",
    }:
        rows = synthetic.split(role, 6, 2, 0)
        check_rows(role, rows, "synthetic")
        assert set(columns(role, rows)) <= set(rows[0])
        assert rows == synthetic.split(role, 6, 2, 0)
    assert synthetic.split("forget", 6, 2, 0) != synthetic.split("forget", 6, 2, 1)
    names = [author["name"] for author in synthetic.authors(300, 0)]
    assert len(set(names)) == 300
    for row in synthetic.split("forget_perturbed", 6, 2, 0):
        assert len({row["paraphrased_answer"], *row["perturbed_answer"]}) == 6
    questions = [
        row["question"]
        for role in ("forget", "retain", "holdout")
        for row in synthetic.split(role, 30, 6, 0)
    ]
    assert len(set(questions)) == len(questions)


def test_synthetic_sizes_are_checked():
    with pytest.raises(WagleError):
        synthetic.split("forget", 5, 5, 0)
    with pytest.raises(WagleError, match="at most"):
        synthetic.authors(10**6, 0)
