"""A model before and after unlearning: numbers, answers and movement, and what they mean in words.

This reads the files of an experiment of task `custom` with one method and one selection. The page
(wagle/reporting/before_after_page.py) and the last lines of `wagle unlearn` show the result.

A row counts as known if the model's own answer has `KNOWN` of the reference by Rouge-L recall. A
model that knew none of the forget rows cannot forget them, whatever the averages say.

Notable: intervals are two-sided 95 % ones over rows, 1.96 standard errors. That of a change is of
the rows' own differences. They say nothing of another seed. Left out: more than one seed.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from wagle.data.rows import read_rows
from wagle.errors import WagleError
from wagle.evaluation.cell_values import read as read_values
from wagle.evaluation.degeneration import MARGIN, is_collapsed
from wagle.evaluation.metrics import rouge_l_recall
from wagle.evaluation.names import DEGENERATE, REMEMBERED
from wagle.evaluation.row_sides import rows_of_side
from wagle.experiment import grid
from wagle.experiment.cells import Cell
from wagle.model import tensors
from wagle.runtime.files import LARGE_LIMIT, read_json

KNOWN = 0.7
FEW = 0.1  # share of known rows below which the model hardly knew the forget set
WORSE = 1.1  # growth of the perplexity from which general text is said to have suffered
PERPLEXITY = "general PPL"


@dataclass(frozen=True)
class Number:
    """One metric before and after, each with its standard error, and the change with its own."""

    name: str
    group: str
    before: float
    before_se: float | None
    after: float
    after_se: float | None
    change_se: float | None
    lower_is_better: bool

    @property
    def change(self) -> float:
        return self.after - self.before

    @property
    def is_clear(self) -> bool:
        """Does the change's interval leave out 0?"""
        return self.change_se is not None and abs(self.change) > 1.96 * self.change_se


@dataclass(frozen=True)
class Answer:
    """One row: what was asked, what is right, and both models' answers."""

    split: str
    question: str
    reference: str
    before: str
    after: str


@dataclass(frozen=True)
class Search:
    """The search for the learning rate, by the config's rule; `points` are its trials."""

    lr: float
    met: bool
    ends: tuple[str, ...]
    at_least: float
    least: float
    points: tuple[Mapping, ...]
    rows_apart: bool


@dataclass(frozen=True)
class Outcome:
    """All that the page shows. known, still: forget rows answered right before and after, of n."""

    cell: Cell
    ratio: float | None
    lr: float
    model: str
    numbers: tuple[Number, ...]
    answers: tuple[Answer, ...]
    known: int
    still: int
    n: int
    degenerate: tuple[float, float]
    moved: Mapping
    parameters: pd.DataFrame
    search: Search | None

    @property
    def knew(self) -> bool:
        return self.known >= FEW * self.n and self.known > 0


def read_outcome(results: Path, config: dict) -> Outcome:
    """The outcome of the experiment `config`, from its folder `results`.

    Raises WagleError where a file is missing, or where there is more than one unlearned cell.
    """
    cells = [cell for cell in grid.table_cells(config) if cell.selection]
    if len(cells) != 1:
        raise WagleError(f"{len(cells)} unlearned cells", "one method, one selection, one seed")
    [cell] = cells
    side = config.get("tuning", {}).get("rows")
    generations = [
        _reported(read_rows(results / "evaluations" / name / "generations.jsonl"), side)
        for name in ("original", cell.id)
    ]
    answers = _answers(*generations)
    forget = [answer for answer in answers if answer.split == "forget"]
    right = [_right(forget, which) for which in ("before", "after")]
    metrics = [_metrics(results / "metrics" / name) for name in ("original", cell.id)]
    search = _search(results, config, cell) if cell.tuned else None
    point = read_json(results / f"tuning/picks/{cell.group}/point.json") if cell.tuned else {}
    [method] = config["methods"].values()
    return Outcome(
        cell=cell,
        ratio=point.get("ratio", cell.ratio),
        lr=point.get("lr", method["lr"]),
        model=_model_name(config["models"]["target"]),
        numbers=_numbers(*metrics),
        answers=tuple(answers),
        known=int(right[0].sum()),
        still=int((right[0] & right[1]).sum()),
        n=len(forget),
        degenerate=tuple(one["values"][DEGENERATE]["value"] for one in metrics),
        moved=read_json(results / "unlearned" / cell.id / "moved.json"),
        parameters=_movement(results, config, cell),
        search=search,
    )


def _model_name(spec: Mapping) -> str:
    return spec.get("name") or Path(spec["path"]).name


def _reported(entries: list[dict], side: Mapping | None) -> list[dict]:
    return rows_of_side({"": entries}, "reported", **side)[""] if side else entries


def _right(answers: Sequence[Answer], which: str) -> np.ndarray:
    """Whether each answer is right, shape (answers,)."""
    given = [getattr(answer, which) for answer in answers]
    return rouge_l_recall([answer.reference for answer in answers], given) >= KNOWN


def _answers(before: list[dict], after: list[dict]) -> list[Answer]:
    generated = {(entry["split"], entry["row"]): entry["generated"] for entry in after}
    return [
        Answer(
            entry["split"],
            entry["question"],
            entry["answer"],
            entry["generated"],
            generated[entry["split"], entry["row"]],
        )
        for entry in before
    ]


def _metrics(folder: Path) -> dict:
    values = read_json(folder / "metrics.json", limit=LARGE_LIMIT, strict=False)["wagle"]
    return {"values": values, "rows": read_values(folder / "rows.json").get("wagle", {})}


def _numbers(before: dict, after: dict) -> tuple[Number, ...]:
    """Every number of both models. Forget metrics are shown as they are, not as 1 - x."""
    names = [(f"1-{kind}", f"forget {kind}", "To forget", True) for kind in REMEMBERED]
    names.append(("UE Avg", "UE Avg", "To forget", False))
    names += [(f"retain {kind}", f"retain {kind}", "To keep", False) for kind in REMEMBERED]
    names.append(("UT Avg", "UT Avg", "To keep", False))
    names += [(PERPLEXITY, PERPLEXITY, "To keep", True), (DEGENERATE, DEGENERATE, "To keep", True)]
    names.append(("forget quality", "forget quality", "To forget", False))
    names += [
        (name, name, "Membership, 0.5 is best", True)
        for name in ("MIA loss", "MIA zlib", "MIA min-k", "MIA min-k++")
    ]
    result = []
    for key, name, group, lower in names:
        if key not in before["values"]:
            continue
        first, second = before["values"][key], after["values"][key]
        sign, shift = (-1, 1) if key.startswith("1-") else (1, 0)
        values = [shift + sign * entry["value"] for entry in (first, second)]
        rows = [one["rows"].get(key) for one in (before, after)]
        error = None
        if all(isinstance(values_of, list) for values_of in rows) and len(rows[0]) > 1:
            difference = np.subtract(rows[1], rows[0])
            error = float(difference.std(ddof=1) / math.sqrt(len(difference)))
        result.append(
            Number(name, group, values[0], first["se"], values[1], second["se"], error, lower)
        )
    return tuple(result)


def _search(results: Path, config: dict, cell: Cell) -> Search:
    point = read_json(results / f"tuning/picks/{cell.group}/point.json")
    trials = []
    for trial in grid.all_trials(config):
        path = results / "tuning/metrics" / trial.id / "metrics.json"
        metrics = read_json(path, limit=LARGE_LIMIT, strict=False)["wagle"]
        trials.append(
            {"lr": trial.lr}
            | {name: metrics[name]["value"] for name in ("UE Avg", "UT Avg", DEGENERATE)}
        )
    tuning = config["tuning"]
    [limit] = tuning["rule"]["subject_to"].values()
    return Search(
        point["lr"],
        point["met"],
        tuple(point["ends"]),
        limit["at_least"],
        point["least"],
        tuple(sorted(trials, key=lambda trial: trial["lr"])),
        "rows" in tuning,
    )


def _movement(results: Path, config: dict, cell: Cell) -> pd.DataFrame:
    """A row a parameter: its size, how many weights were selected, and sums of squares of the
    weights and of their change.
    """
    target = results / "models/target/checkpoint"
    unlearned = results / "unlearned" / cell.id / "checkpoint"
    shapes = tensors.parameter_shapes(target)
    pairs = zip(tensors.stream(target, shapes), tensors.stream(unlearned, shapes), strict=True)
    rows = []
    for (name, old), (_, new) in pairs:
        old, new = old.double(), new.double()
        rows.append(
            {
                "parameter": name,
                "size": old.numel(),
                "squares": float(old.square().sum()),
                "change": float((new - old).square().sum()),
            }
        )
    frame = pd.DataFrame(rows).assign(selected=lambda data: data["size"])
    if cell.has_mask:
        density = pd.read_csv(results / grid.mask_folder(config, cell) / "density.csv")
        selected = dict(zip(density["parameter"], density["selected"], strict=True))
        frame["selected"] = frame["parameter"].map(selected)
    return frame


def verdicts(outcome: Outcome) -> list[str]:
    """What a reader must know first, one sentence or two each; the most important ones first."""
    numbers = {number.name: number for number in outcome.numbers}
    efficacy, utility = numbers["UE Avg"], numbers["UT Avg"]
    said = [_knowledge(outcome)]
    if is_collapsed(outcome.degenerate[1], outcome.degenerate[0]):
        said.append(
            f"WARNING: the answers collapsed. {outcome.degenerate[1]:.0%} of the answers to rows to"
            f" keep are empty or repeat themselves ({outcome.degenerate[0]:.0%} before; more than"
            f" {MARGIN:.0%} on top counts as collapsed). Do not use this model."
        )
    if efficacy.change <= 0 or not efficacy.is_clear:
        said.append(
            f"WARNING: forgetting is not more than chance. UE Avg went from {efficacy.before:.3f}"
            f" to {efficacy.after:.3f}."
        )
    if outcome.search is not None:
        said += _of_search(outcome.search)
    said.append(
        f"UT Avg on rows to keep is {utility.after:.3f} after {utility.before:.3f}. These rows were"
        " trained on during unlearning, so the model may do worse on others."
    )
    if PERPLEXITY in numbers:
        text = numbers[PERPLEXITY]
        worse = "WARNING: general text suffered. " if text.after > WORSE * text.before else ""
        said.append(
            f"{worse}Perplexity of general text is {text.after:.1f} after {text.before:.1f}."
        )
    return said


def _knowledge(outcome: Outcome) -> str:
    known, still, n = outcome.known, outcome.still, outcome.n
    if not outcome.knew:
        return (
            f"WARNING: the model hardly knew the rows to forget. Before unlearning it answered"
            f" {known} of {n} right (Rouge-L recall of at least {KNOWN:g}). What it never knew it"
            " cannot forget, and the numbers below say little."
        )
    if known < n / 2:
        return (
            f"The model knew part of the rows to forget. It answered {known} of {n} right before"
            f" unlearning, and {still} of these {known} after it (Rouge-L recall of at least"
            f" {KNOWN:g})."
        )
    return (
        f"Of {n} rows to forget the model answered {known} right before unlearning, and {still} of"
        f" these after it (Rouge-L recall of at least {KNOWN:g})."
    )


def _of_search(search: Search) -> list[str]:
    said = []
    if not search.met:
        said.append(
            f"WARNING: no learning rate satisfied the rule. None kept {search.at_least:.0%} of the"
            f" UT Avg before unlearning ({search.least:.3f}) with sound answers. The rate that kept"
            f" most was taken, {search.lr:g}. Try lower ones with --lrs."
        )
    if "highest lr" in search.ends and search.met:
        said.append(
            f"The picked learning rate, {search.lr:g}, is the highest that was tried. A higher one"
            " may forget more: --lrs."
        )
    if not search.rows_apart:
        said.append(
            "There were too few rows to judge the search on rows of its own, so the numbers are of"
            " the rows that it picked on, and are too good."
        )
    return said


def as_json(outcome: Outcome) -> str:
    """The numbers and the sentences, for other programs."""
    numbers = [vars(number) | {"change": number.change} for number in outcome.numbers]
    content = {
        "cell": outcome.cell.id,
        "lr": outcome.lr,
        "ratio": outcome.ratio,
        "known_before": outcome.known,
        "of_these_after": outcome.still,
        "forget_rows": outcome.n,
        "numbers": numbers,
        "verdicts": verdicts(outcome),
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
