"""Small data frames as Markdown, LaTeX and HTML, and how methods and selections are written.

The main table, which knows metrics and their errors, is wagle/reporting/tables.py.
"""

import math
from html import escape

import pandas as pd

from wagle.experiment.cells import Cell

NAMES = {
    "graddiff": "GradDiff",
    "npo": "NPO",
    "po": "PO",
    "lora": "LoRA",
    "wagle": "WAGLE",
    "snip": "SNIP",
    "ga": "GA",
    "ga-kl": "GA+KL",
    "npo-sam": "NPO+SAM",
    "simnpo": "SimNPO",
    "wga": "WGA",
    "satimp": "SatImp",
    "ceu": "CE-U",
    "undial": "UNDIAL",
    "ihl": "IHL",
    "pdu": "PDU",
    "rmu": "RMU",
    "dpo": "DPO",
}
TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    character: f"\\{character}" for character in "&%$#_{}"
}


def label(name: str) -> str:
    """How a method or selection is written: `graddiff-bf16` as GradDiff bf16."""
    if name in NAMES:
        return NAMES[name]
    first, *rest = name.split("-", 1)
    return " ".join([NAMES.get(first, first.replace("_", " ").capitalize()), *rest])


def cell_label(cell: Cell) -> str:
    return " ".join(label(word) for word in (cell.method, cell.selection) if word)


def value_text(value) -> str:
    """A value as a reader sees it: four digits of a number, nothing for a blank."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def is_numeric(frame: pd.DataFrame) -> list[bool]:
    return [pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]


def markdown(frame: pd.DataFrame) -> str:
    """A Markdown table: numbers right-aligned; line breaks and bars in texts made harmless."""
    rules = "".join("---:|" if numeric else "---|" for numeric in is_numeric(frame))
    lines = ["| " + " | ".join(map(str, frame.columns)) + " |", "|" + rules]
    for row in frame.itertuples(index=False):
        texts = [value_text(value).replace("|", "/").replace("\n", " ") for value in row]
        lines.append(f"| {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


def html(frame: pd.DataFrame) -> str:
    """An HTML table; numbers carry the class `number`, and every text is escaped."""
    heads = "".join(f'<th scope="col">{escape(str(c))}</th>' for c in frame.columns)
    classes = [' class="number"' if numeric else "" for numeric in is_numeric(frame)]
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{kind}>{escape(value_text(value))}</td>"
            for kind, value in zip(classes, row, strict=True)
        )
        + "</tr>"
        for row in frame.itertuples(index=False)
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def latex(frame: pd.DataFrame, columns: list[str] | None = None) -> str:
    """A booktabs tabular; `columns` are LaTeX column types, such as p{4cm} for texts."""
    columns = columns or ["r" if numeric else "l" for numeric in is_numeric(frame)]

    def line(values):
        texts = (value_text(value).replace("\n", " ") for value in values)
        cells = ("".join(TEX.get(character, character) for character in text) for text in texts)
        return " & ".join(cells) + r" \\"

    return (
        "\n".join(
            [
                "% needs \\usepackage{booktabs}",
                rf"\begin{{tabular}}{{{''.join(columns)}}}",
                r"\toprule",
                line(frame.columns),
                r"\midrule",
                *(line(row) for row in frame.itertuples(index=False)),
                r"\bottomrule",
                r"\end{tabular}",
            ]
        )
        + "\n"
    )
