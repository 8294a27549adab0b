"""One self-contained HTML page of an experiment: what it was, its tables, its figures. Opens without a network."""

import html
import re

import jinja2

from wagle.runtime import assets

FIGURES = {
    "sparsity_sweep": "Fig. 1. Unlearning efficacy and utility against nominal sparsity (Wanda freezes linear layers only).",
    "density_module": "Fig. 2. Share of weights selected in each kind of module.",
    "gamma_sweep": "Fig. 3. Unlearning efficacy and utility against gamma, relative to the norm of the retain gradient (GN).",
    "ratio_sweep": "Fig. A1. Unlearning efficacy and utility against the selection ratio.",
    "density_layer": "Fig. A2. Share of weights selected in each layer.",
    "precision": "Precision (not in the paper). Share of selected weights that moved, efficacy and utility, by learning rate.",
}
TITLES = {
    "tofu": "Table 1. TOFU: methods and weight selections",
    "wmdp": "Table 2. WMDP: methods and weight selections",
    "whp": "Table 3. WHP: weight selections",
    "detox": "Table 3. DETOX: weight selections",
}
PROTOCOLS = {
    "wagle": "the paper's text",
    "wagle-code": "the official code, bug for bug where docs/metrics.md says so",
    "tofu": "TOFU's own definitions",
    "open-unlearning": "open-unlearning's definitions",
}


def _table(markdown: str) -> str:
    """The HTML of one of our own Markdown tables (first two columns text, the rest numbers)."""
    lines = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in markdown.strip().splitlines()
    ]

    def cells(row, tag):
        parts = [re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html.escape(cell)) for cell in row]
        return "<tr>" + "".join(f"<{tag}>{part}</{tag}>" for part in parts) + "</tr>"

    body = "".join(cells(row, "td") for row in lines[2:])
    return f"<table><thead>{cells(lines[0], 'th')}</thead><tbody>{body}</tbody></table>"


def _inline(svg: str, number: int) -> str:
    """An SVG for inlining: no XML prologue, and its ids made unique, for all figures share one page."""
    svg = svg[svg.index("<svg") :]
    return re.sub(r'(id="|href="#|url\(#)', rf"\1f{number}-", svg)


def page(experiment: str, task: str, about: dict[str, str], tables: dict[str, tuple[str, str]], figures: dict[str, str], *,
         claims: str, timing: str, examples: list[str]) -> str:  # fmt: skip
    """The page from Markdown tables (by protocol: the table, and the same beside the published cells) and SVG texts by figure."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(assets.text("report.html.j2")).render(
        experiment=experiment,
        about=about,
        title=TITLES[task],
        tables=[
            (name, PROTOCOLS[name], _table(table), _table(beside))
            for name, (table, beside) in tables.items()
        ],
        claims=_table(claims),
        timing=_table(timing),
        examples=[_table(text) for text in examples],
        figures=[(FIGURES[name], _inline(svg, i)) for i, (name, svg) in enumerate(figures.items())],
    )
