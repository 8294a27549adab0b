"""Raw rows into texts, passages and quiz questions, and how data.splits selects rows."""

import pytest

from wagle.data import reshape
from wagle.data.rows import check_together, write_rows
from wagle.data.sources import load_split
from wagle.errors import WagleError

DATA = {"source": "files"}
QUESTION = {
    "question": "Which one?",
    "choices": ["a", "b", "c", "d"],
    "answer": 2,
    "subject": "high_school_physics",
}


def write(folder, name, rows):
    write_rows(folder / f"{name}.jsonl", rows)


def test_passages_are_cut_by_words_across_rows_and_lose_nothing_but_the_tail():
    texts = ["one two three", "", "four five", "six seven eight nine ten"]
    cut = reshape.passages(texts, 4)
    assert cut == [["one", "two", "three", "four"], ["five", "six", "seven", "eight"]]
    for words in range(2, 11):
        joined = [word for passage in reshape.passages(texts, words) for word in passage]
        assert joined == " ".join(texts).split()[: 10 // words * words]


def test_completion_splits_each_passage_into_prompt_and_continuation():
    rows = reshape.apply(
        {"form": "completion", "words": 4, "prompt_words": 1}, [{"text": "a b c d e f g h i"}], "x"
    )
    assert rows == [{"question": "a", "answer": "b c d"}, {"question": "e", "answer": "f g h"}]
    with pytest.raises(WagleError, match="prompt_words 4 of 4"):
        reshape.apply(
            {"form": "completion", "words": 4, "prompt_words": 4}, [{"text": "a b c d"}], "x"
        )


def test_text_joins_lists_and_names_what_is_no_text():
    assert reshape.apply({"form": "text", "column": "s"}, [{"s": ["One.", "Two."]}], "x") == [
        {"text": "One. Two."}
    ]
    with pytest.raises(WagleError, match="x, row 0, column 's' holds '5'"):
        reshape.apply({"form": "text", "column": "s"}, [{"s": 5}], "x")


def test_a_quiz_row_is_the_harness_prompt_and_letter():
    [row] = reshape.apply({"form": "quiz", "task": "mmlu"}, [QUESTION], "x")
    assert row["answer"] == "C"
    assert row["question"].startswith(
        "The following are multiple choice questions (with answers) about high school physics.\n\n"
    )
    assert row["question"].endswith("Which one?\nA. a\nB. b\nC. c\nD. d\nAnswer:")
    with pytest.raises(WagleError, match="is no question of mmlu"):
        reshape.apply({"form": "quiz", "task": "mmlu"}, [{"question": "?"}], "x")


def test_entries_cut_and_join(tmp_path):
    write(tmp_path, "many", [{"text": f"text {i}" + " long" * i} for i in range(10)])
    spread = load_split("wikitext", {"name": "many", "spread": 3}, DATA, tmp_path)
    assert [row["text"].split()[1] for row in spread] == ["0", "3", "6"]
    short = load_split("wikitext", {"name": "many", "longest": 16}, DATA, tmp_path)
    assert [row["text"].split()[1] for row in short] == ["0", "1", "2"]
    both = load_split(
        "wikitext",
        [{"name": "many", "rows": [0, 1]}, {"name": "many", "rows": [5, 6]}],
        DATA,
        tmp_path,
    )
    assert [row["text"].split()[1] for row in both] == ["0", "5"]


def test_columns_are_renamed_and_rows_picked():
    rows = [{"prompt": {"text": "p0"}, "safe": True}, {"prompt": {"text": "p1"}, "safe": False}]
    spec = {"columns": {"text": "prompt.text"}, "where": {"safe": False}}
    assert list(reshape.pick(spec, rows, "x")) == [{"text": "p1"}]
    with pytest.raises(WagleError, match=r"no column 'prompt\.body'"):
        list(reshape.pick({"columns": {"text": "prompt.body"}}, rows, "x"))


def test_a_book_is_a_text_file(tmp_path):
    (tmp_path / "book.txt").write_bytes("\ufeffFirst line\r\nsecond.\r\n\r\nNext one.\n".encode())
    rows = load_split(
        "forget",
        {"name": "book", "form": "completion", "words": 5, "prompt_words": 2},
        DATA,
        tmp_path,
    )
    assert rows == [{"question": "First line", "answer": "second. Next one."}]
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WagleError, match=r"bad\.txt cannot be read"):
        load_split("forget", {"name": "bad", "form": "text"}, DATA, tmp_path)


@pytest.mark.parametrize("answer", [4, -1, "A", True, None])
def test_a_choice_outside_its_choices_is_named(tmp_path, answer):
    write(tmp_path, "q", [QUESTION, QUESTION | {"answer": answer}])
    with pytest.raises(WagleError, match="row 1, column 'answer'"):
        load_split("mmlu", {"name": "q"}, DATA, tmp_path)


def test_seen_and_unseen_prompts_belong_where_they_say():
    rows = [{"question": f"q{i}", "answer": f"a{i}"} for i in range(4)]
    splits = {
        "forget": rows[:2],
        "retain": [{"text": "other"}],
        "seen": rows[:1],
        "unseen": rows[2:],
    }
    check_together(splits)
    with pytest.raises(WagleError, match="seen is not in forget"):
        check_together(splits | {"seen": rows[2:3]})
    with pytest.raises(WagleError, match="unseen shares rows"):
        check_together(splits | {"unseen": rows[1:]})


def test_the_book_has_every_passage_that_is_asked_about():
    """Passages that the target was never tuned on measure no forgetting."""
    rows = [{"question": f"q{i}", "answer": f"a{i} b"} for i in range(4)]
    splits = {
        "forget": rows[:2],
        "retain": [{"text": "other"}],
        "seen": rows[:1],
        "unseen": rows[2:],
        "book": [{"text": f"q{i} a{i} b"} for i in range(4)],
    }
    check_together(splits)
    check_together(splits | {"book": rows})
    for absent, role in ((3, "unseen"), (1, "forget")):
        book = [row for i, row in enumerate(splits["book"]) if i != absent]
        with pytest.raises(WagleError, match=f"1 rows of {role} are no passages of book"):
            check_together(splits | {"book": book})


def test_a_text_is_cut_where_it_stands(tokenizer):
    """As many words as a row may have tokens are enough: the row is the same."""
    from wagle.data.encoding import encode_text
    from wagle.data.reshape import beginning

    text = "  The father\n\nwas a baker ,  and\ta miner in a city of many bridges.\n"
    assert beginning(text, 3) == "  The father\n\nwas"
    assert beginning(text, 15) == text.rstrip() and beginning(text, 99) == text
    assert beginning(text, None) == text
    for length in (4, 8, 12):
        whole, cut = (encode_text(tokenizer, t, length) for t in (text, beginning(text, length)))
        assert whole == cut and len(whole) == length
    spec = {"form": "text", "words": 2}
    assert reshape.apply(spec, iter([{"text": text}]), "q") == [{"text": "  The father"}]


def test_raw_lines_of_wikitext_may_be_blank(tmp_path):
    lines = [{"text": text} for text in ("", " = One = \n", "", " A mill . \n")]
    write_rows(tmp_path / "lines.jsonl", lines)
    assert load_split("wikitext", {"name": "lines"}, DATA, tmp_path) == lines
    with pytest.raises(WagleError, match="a non-empty text"):
        load_split("retain", {"name": "lines"}, DATA, tmp_path)


def test_a_quiz_depends_on_the_harness_prompt_and_made_up_rows_on_their_maker():
    from wagle.experiment.splits import split_modules

    quiz = {"name": "asked", "form": "quiz", "task": "mmlu"}
    config = {
        "data": {
            "source": "files",
            "splits": {"a": quiz, "b": [quiz, {"source": "synthetic"}], "c": {}},
        }
    }
    assert split_modules(config, "a") == ["wagle/assets/harness/mmlu.yaml"]
    assert split_modules(config, "b") == ["wagle.data.synthetic", "wagle/assets/harness/mmlu.yaml"]
    assert split_modules(config, "c") == []
