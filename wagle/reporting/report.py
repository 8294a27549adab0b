"""One self-contained HTML page of an experiment: what it was, its tables, its figures.

The page opens without a network. Its numbers come from the tables' CSV files.
"""

import re

import jinja2
import pandas as pd

from wagle.experiment.tasks import Task
from wagle.reporting import frames, tables
from wagle.reporting.examples import side_by_side
from wagle.runtime import assets

PROTOCOLS = {
    "wagle": "the paper's text",
    "wagle-code": "the official code, bug for bug where docs/metrics.md says so",
    "tofu": "TOFU's own definitions",
    "open-unlearning": "open-unlearning's definitions",
}

TUNING = (
    "Picked points",
    "Selections at equal efficacy or utility",
    "Every trial",
)


def inline_svg(svg: str, number: int) -> str:
    """An SVG for inlining: no XML prologue, and its ids made unique among the page's figures."""
    svg = svg[svg.index("<svg") :]
    return re.sub(r'(id="|href="#|url\(#)', rf"\1f{number}-", svg)


def page(
    about: dict,
    task: Task,
    *,
    summaries: list[pd.DataFrame],
    published: list[pd.DataFrame],
    claims: pd.DataFrame,
    timing: pd.DataFrame,
    examples: list[pd.DataFrame],
    tuned: list[pd.DataFrame] | None = None,
    figures: list[str],
) -> str:
    """The page as text.

    `about` holds experiment, about, protocols and captions. `summaries` and `published` have one
    frame a protocol. `tuned` are the picked points, the matched comparisons and the trials, or
    nothing. `examples` are the answers in long form and the refusals, or nothing.
    `figures` are SVG texts in the order of the captions.
    """
    main_tables = [
        {
            "protocol": protocol,
            "meaning": PROTOCOLS.get(protocol, ""),
            "table": tables.html(
                summary.assign(selection=summary["selection"].fillna("")),
                tables.present(summary, task.layouts[protocol], task.optional),
                task.best,
                task.lower_is_better,
            ),
            "published": frames.html(beside),
        }
        for protocol, summary, beside in zip(about["protocols"], summaries, published, strict=True)
    ]
    titled = []
    if examples:
        answers, refusals = examples
        titled.append(("Examples of each model", frames.html(side_by_side(answers))))
        titled.append(("Refusal answers", frames.html(refusals)))
    template = assets.text("report.html.j2")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template).render(
        experiment=about["experiment"],
        about=about["about"],
        title=task.title,
        tables=main_tables,
        claims=frames.html(claims),
        timing=frames.html(timing),
        tuned=[
            (title, frames.html(frame)) for title, frame in zip(TUNING, tuned or [], strict=False)
        ],
        examples=titled,
        figures=[
            (caption, inline_svg(svg, number))
            for number, (caption, svg) in enumerate(
                zip(about["captions"].values(), figures, strict=True)
            )
        ],
    )
