"""Degenerate answers: empty ones and ones that repeat themselves, and when a model has collapsed.

A model that answers "w w w" to everything forgets perfectly and is of no use. Averages of efficacy
and utility do not always say so. The share of degenerate answers does, and tables show it beside
them.

An answer is degenerate if it has no letter and no digit, or if it repeats itself: its seq-rep-n is
above `REPEATED`. That is the share of its n-grams of words that occurred before in the same answer
(Welleck et al. 2019, arXiv 1908.04319, section 5.2, with n = 4). Answers of fewer than `LONG` words
hardly have 4-grams, so there n is 1.

A model's answers are collapsed if their share of degenerate ones exceeds that of the model before
unlearning by more than `MARGIN`. Small models repeat themselves without any unlearning.

Notable: everything here is a pure function of texts or shares. Words are runs of letters and
digits. Characters of scripts without blanks between words count as words, and so does each letter
of a run of five or more equal ones. Left out: answers that are fluent and wrong.
"""

import re

import numpy as np

from wagle.evaluation.row_statistics import mean_of_rows

N, LONG = 4, 8
REPEATED = 0.5
MARGIN = 0.2

RUN = re.compile(r"([^\W\d_])\1{4,}")
# Thai, Lao, Khmer, Hiragana, Katakana, and Chinese characters stand for words of their own.
WORD = re.compile(r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]|[^\W_]+")


def words(text: str) -> list[str]:
    """The words of `text` in lower case."""
    return WORD.findall(RUN.sub(lambda run: " ".join(run[0]), text.lower()))


def seq_rep(tokens: list[str], n: int) -> float:
    """1 - unique n-grams / n-grams of `tokens`; 0 where there is no n-gram."""
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def is_degenerate(answer: str) -> bool:
    """Whether `answer` is empty or repeats itself."""
    tokens = words(answer)
    return not tokens or seq_rep(tokens, N if len(tokens) >= LONG else 1) > REPEATED


def shares(answers: list[str]) -> np.ndarray:
    """1.0 for each degenerate answer, else 0.0, shape (answers,)."""
    return np.array([float(is_degenerate(answer)) for answer in answers])


def metric(answers: list[str]) -> dict:
    """{value, se, n, rows}: the share of degenerate ones among `answers`.

    Raises WagleError without answers.
    """
    return mean_of_rows(shares(answers))


def is_collapsed(share: float, original: float) -> bool:
    """Whether `share` of degenerate answers exceeds `original`, that before unlearning."""
    return share - original > MARGIN
