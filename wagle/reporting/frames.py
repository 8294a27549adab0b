"""Small frames as Markdown and LaTeX, and how names are written; apart from the main table, which knows every metric."""

import math

import pandas as pd

NAMES = {
    "graddiff": "GradDiff",
    "npo": "NPO",
    "po": "PO",
    "lora": "LoRA",
    "wagle": "WAGLE",
    "snip": "SNIP",
}


def label(name: str) -> str:
    """How a method or selection is written in tables and figures: `graddiff-bf16` as GradDiff bf16."""
    first, *rest = name.split("-", 1)
    return " ".join([NAMES.get(first, first.replace("_", " ").capitalize()), *rest])


def markdown(frame: pd.DataFrame) -> str:
    """Any small frame as a Markdown table; numbers right-aligned, line breaks and bars in texts made harmless."""
    numeric = [pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]
    lines = [
        "| " + " | ".join(map(str, frame.columns)) + " |",
        "|" + "".join("---:|" if n else "---|" for n in numeric),
    ]
    for row in frame.itertuples(index=False):
        texts = [_text(value).replace("|", "/").replace("\n", " ") for value in row]
        lines.append(f"| {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    c: f"\\{c}" for c in "&%$#_{}"
}


def latex(frame: pd.DataFrame, widths: list[str] | None = None) -> str:
    """Any small frame as a booktabs tabular; `widths` are column types such as p{4cm} for texts."""
    kinds = widths or ["r" if pd.api.types.is_numeric_dtype(kind) else "l" for kind in frame.dtypes]

    def line(values):
        return (
            " & ".join(
                "".join(_TEX.get(c, c) for c in _text(value).replace("\n", " ")) for value in values
            )
            + r" \\"
        )

    rows = [line(row) for row in frame.itertuples(index=False)]
    head = [
        "% needs \\usepackage{booktabs}",
        rf"\begin{{tabular}}{{{''.join(kinds)}}}",
        r"\toprule",
        line(frame.columns),
        r"\midrule",
    ]
    return "\n".join([*head, *rows, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _text(value) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
