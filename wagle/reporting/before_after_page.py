"""The page of `wagle unlearn`: one HTML file without a network, for a wide screen and a phone.

Numbers with intervals, answers side by side, and what moved where. The content is an `Outcome`
(wagle/reporting/before_after.py).
"""

import math
from collections.abc import Mapping

import jinja2
import pandas as pd

from wagle.model.families import KINDS
from wagle.reporting import masks
from wagle.reporting.before_after import Number, Outcome, verdicts
from wagle.reporting.frames import label
from wagle.runtime import assets

SHOWN = 12  # rows of each split whose answers are shown
ROLES = {kind.label: kind.role for kind in KINDS}


def page(outcome: Outcome, about: Mapping[str, str], results: str) -> str:
    """The page as text.

    about: further lines on what was done. results: the experiment's folder, as readers find it.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"value": value_text, "interval": interval_text}
    groups: dict[str, list[Number]] = {}
    for number in outcome.numbers:
        groups.setdefault(number.group, []).append(number)
    answers = {
        title: [answer for answer in outcome.answers if answer.split == split]
        for title, split in (("Rows to forget", "forget"), ("Rows to keep", "retain"))
    }
    return environment.from_string(assets.text("before_after.html.j2")).render(
        outcome=outcome,
        about=_about(outcome) | about,
        verdicts=verdicts(outcome),
        groups=groups,
        answers={title: rows[:SHOWN] for title, rows in answers.items()},
        counts={title: len(rows) for title, rows in answers.items()},
        places={
            "By kind of module": _moved(masks.by_module(outcome.parameters)),
            "By layer": _moved(masks.by_layer(outcome.parameters)),
        },
        results=results,
    )


def _about(outcome: Outcome) -> dict[str, str]:
    ratio = "all" if outcome.ratio is None else f"{outcome.ratio:.0%}"
    return {
        "Model": outcome.model,
        "Method": label(outcome.cell.method),
        "Weights that may change": f"{label(outcome.cell.selection)}, {ratio} of all",
        "Peak learning rate": f"{outcome.lr:g}",
    }


def value_text(value: float) -> str:
    """A number as the page writes it."""
    if value != 0 and abs(value) < 5e-4:
        return f"{value:.1e}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def interval_text(error: float | None) -> str:
    """Half of the 95 % interval that follows from a standard error."""
    known = error is not None and not math.isnan(error)
    return f"± {value_text(1.96 * error)}" if known else ""


def _moved(frame: pd.DataFrame) -> list[dict]:
    """For each group: share of selected weights, and the change's size by that of the weights.

    Both sizes are Euclidean norms over all weights of the group.
    """
    columns = ["size", "selected", "squares", "change"]
    sums = frame.groupby(["order", "group"], sort=True)[columns].sum().reset_index()
    change = (sums["change"] / sums["squares"].where(sums["squares"] > 0)).pow(0.5).fillna(0.0)
    largest = float(change.max()) or 1.0
    names = [
        f"layer {group}" if not isinstance(group, str) else ROLES.get(group, group)
        for group in sums["group"]
    ]
    return [
        {
            "name": name,
            "selected": selected / size,
            "change": moved,
            "width": 100 * moved / largest,
        }
        for name, selected, size, moved in zip(
            names, sums["selected"], sums["size"], change, strict=True
        )
    ]
