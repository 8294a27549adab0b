"""Task custom: its metrics by hand, plain texts as rows, and answers that degenerate."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp

from wagle.data.encoding import encode_text, halves
from wagle.data.rows import check_rows
from wagle.data.synthetic import split
from wagle.errors import WagleError
from wagle.evaluation import degeneration, generation, own_rows, scoring, trials
from wagle.experiment import tasks
from wagle.reporting import tables

TEMPLATE = "[INST] {question} [/INST] {answer}"
LOOP = "the cat sat on the mat and " * 6


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("", True),
        (" ...!?", True),
        ("w w w", True),
        ("wwwwwwwwww", True),
        (LOOP, True),
        ("哈哈哈哈哈哈", True),
        ("no", False),
        ("No, no.", False),
        ("In 10000000 cases", False),
        ("北京是中国的首都", False),
        ("She was born in Oslo, and her first novel, The Grey Ferry, won a prize there.", False),
    ],
)
def test_degenerate_answers(answer, expected):
    assert degeneration.is_degenerate(answer) is expected
    assert degeneration.is_degenerate(answer.upper()) is expected


def test_repetition_by_hand():
    assert degeneration.seq_rep("a b a b".split(), 1) == 0.5
    assert degeneration.seq_rep("a b a b".split(), 2) == pytest.approx(1 / 3)
    assert degeneration.seq_rep(["a"], 4) == 0
    assert degeneration.metric(["w w w", "fine"])["value"] == 0.5


def log_of(texts):
    """A scoring log of {(split, row): [(log probability, hit)]}; an EOS ends each."""
    lines = []
    for (name, row), tokens in texts.items():
        for logp, hit in [*tokens, (-0.5, True)]:
            lines.append((name, row, "answer", logp, hit, True, False, -2.0, 1.0, 30))
        lines[-1] = (*lines[-1][:6], True, *lines[-1][7:])
    names = "split row role log_prob argmax_hit in_span is_eos mean std answer_zlib".split()
    columns = dict(zip(names, zip(*lines, strict=True), strict=True))
    text = ("split", "role")
    return {k: np.array(v, dtype=object if k in text else None) for k, v in columns.items()}


LOG = {
    ("forget", 0): [(-1.0, False), (-0.5, True)],
    ("forget", 1): [(-3.0, False), (-2.5, False)],
    ("retain", 0): [(-0.25, True), (-0.25, True)],
    ("general", 0): [(-2.0, False), (-1.5, False)],
}
ANSWERS = [
    {"split": "forget", "row": 0, "answer": "in oslo", "generated": "in oslo"},
    {"split": "forget", "row": 1, "answer": "two words", "generated": ""},
    {"split": "retain", "row": 0, "answer": "a b c d", "generated": "a b"},
]


def test_metrics_by_hand():
    found = own_rows.metrics(log_of(LOG), ANSWERS)
    value = {name: entry["value"] for name, entry in found.items()}
    probabilities = np.exp([-2 / 3, -2.0])
    assert value == pytest.approx(
        {
            "1-Rouge-L": 0.5,
            "1-probability": 1 - probabilities.mean(),
            "1-extraction strength": 1 - 0.25,
            "1-exact memorization": 1 - 0.25,
            "retain Rouge-L": 0.5,
            "retain probability": np.exp(-1 / 3),
            "retain extraction strength": 1.0,
            "retain exact memorization": 1.0,
            "UE Avg": (0.5 + 1 - probabilities.mean() + 0.75 + 0.75) / 4,
            "UT Avg": (0.5 + np.exp(-1 / 3) + 2) / 4,
            "degenerate": 0.0,
            "general PPL": np.exp(4 / 3),
        }
    )
    layout = tasks.load("custom").TASK.layouts["wagle"]
    assert value.keys() <= {name for group in layout.values() for name in group}


def test_a_retrained_model_and_a_holdout_add_what_they_allow():
    texts = LOG | {("holdout", 0): [(-4.0, False)], ("holdout", 1): [(-5.0, False)]}
    other = {key: [(2 * logp, hit) for logp, hit in tokens] for key, tokens in texts.items()}
    found = own_rows.metrics(log_of(texts), ANSWERS, log_of(other))
    ours, theirs = [2 / 3, 2.0], [3.5 / 3, 11.5 / 3]
    test = ks_2samp(ours, theirs)
    assert found["forget quality"]["value"] == pytest.approx(test.pvalue)
    assert found["KS"]["value"] == pytest.approx(test.statistic)
    assert found["MIA loss"]["value"] == 1.0  # each holdout row has a larger loss


def test_plain_texts_are_scored_whole_and_continued(model, tokenizer):
    text = "Ivor Pelshaw wrote a book about the sea and another about the hills behind it."
    splits = {"forget": [{"text": text}], "retain": [{"question": "Who?", "answer": "Ivor."}]}
    options = {"template": TEMPLATE, "max_length": 64}
    log = scoring.score(model, tokenizer, splits, token_budget=500, **options)
    ids = encode_text(tokenizer, text, 64).ids
    own = log["split"] == "forget"
    assert log["token_id"][own].tolist() == list(ids[1:]) and log["in_span"][own].all()
    parts = halves(tokenizer, text, 64, 4)
    assert parts.prompt == ids[: len(ids) // 2]
    assert parts.rest == tokenizer.decode(ids[len(ids) // 2 :][:4]).strip()
    options = {"max_new_tokens": 4, "token_budget": 500, **options}
    first, second = generation.answer_all(model, tokenizer, splits, **options)
    assert (first["question"], first["answer"]) == (parts.beginning, parts.rest)
    [alone] = generation.continuations(
        model, tokenizer, [parts.prompt], template=TEMPLATE, max_new_tokens=4, token_budget=1
    )
    assert first["generated"] == alone and second["answer"] == "Ivor."
    assert "text" not in first


def test_holdout_and_general_rows_are_not_answered():
    splits = {"holdout": [{"question": "q", "answer": "a"}], "general": [{"text": "t"}]}
    assert generation.tasks(splits) == []
    check_rows("general", split("general"), "built in")
    with pytest.raises(WagleError, match="column 'text'"):
        check_rows("general", [{"question": "q"}], "a file")


def frame(broken):
    """NPO with two selections; `broken` is the share of degenerate answers of the better one."""
    rows = [("original", "", 0.1, 0.9, 0.05), ("npo", "dense", 0.5, 0.5, 0.0)]
    rows.append(("npo", "wagle", 0.9, 0.6, broken))
    names = ("UE Avg", "UT Avg", "degenerate")
    return pd.DataFrame(
        [
            {"protocol": "wagle", "method": m, "selection": s, "metric": name, "mean": value}
            | {"se": None, "seeds": 1, "n": 9, "se_rows": 0.1, "share updated": 1.0}
            for m, s, *values in rows
            for name, value in zip(names, values, strict=True)
        ]
    )


@pytest.mark.parametrize("broken", [0.2, 0.3])
def test_a_collapsed_cell_is_marked_and_never_the_best(broken):
    layout = {"Unlearning efficacy": ["UE Avg"], "Utility": ["UT Avg"], "Answers": ["degenerate"]}
    shown = {
        write: write(frame(broken), layout, ("UE Avg", "UT Avg"))
        for write in (tables.markdown, tables.html, tables.latex)
    }
    if broken - 0.05 > degeneration.MARGIN:
        assert "**0.500** | **0.500**" in shown[tables.markdown]
        assert "0.900‡ | 0.600‡ | 0.300‡" in shown[tables.markdown]
        assert r"0.900$^\ddagger$" in shown[tables.latex]
        assert "<tfoot>" in shown[tables.html]
        assert all("collapsed" in text for text in shown.values())
    else:
        assert "**0.900** | **0.600**" in shown[tables.markdown]
        assert not any("collapsed" in text for text in shown.values())


def test_a_collapsed_trial_is_not_picked():
    def point(lr, efficacy, kept, broken):
        return trials.Point("npo/dense", None, lr, (1,), efficacy, kept, broken)

    sound, broken = point(1e-5, 0.4, 0.8, 0.1), point(1e-3, 0.9, 0.8, 0.9)
    assert trials.pick([sound, broken], 0.5, 0.1).point == sound
    assert trials.pick([sound, broken], 0.5).point == broken  # a task without answers
    short = trials.pick([broken, point(1e-4, 0.5, 0.1, 0.0)], 0.5, 0.1)
    assert not short.met and short.point.lr == 1e-4


def test_columns_that_no_cell_has_are_left_out():
    task = tasks.load("custom").TASK
    layout = tables.present(frame(0.0), task.layouts["wagle"], task.optional)
    assert "Membership" not in layout and "general PPL" not in layout["Utility"]
    assert "UT Avg" in layout["Utility"]
