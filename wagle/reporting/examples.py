"""Tables A1 to A6: the same prompts answered by the original, the retrained and each unlearned model, and the refusals."""

import pandas as pd

from wagle.errors import WagleError


def collect(answers: dict[str, list[dict]], rows: int) -> pd.DataFrame:
    """Long table split, row, question, reference, model, answer: the first `rows` prompts of each split, every model's answer.

    `answers` maps a model's name to its generations. Raises WagleError when a model lacks an answer that another has.
    """
    wanted: dict[tuple, dict] = {}
    found: dict[tuple, dict[str, str]] = {}
    for model, entries in answers.items():
        for entry in entries:
            if entry["row"] < rows and entry.get("asked", "original") == "original":
                key = (entry["split"], entry["row"])
                wanted.setdefault(key, entry)
                found.setdefault(key, {})[model] = entry["generated"]
    table = []
    for key, entry in wanted.items():
        for model in answers:
            if model not in found[key]:
                raise WagleError(
                    f"{model} has no answer to {key[0]} row {key[1]}",
                    "the same prompts for every model",
                )
            table.append({"split": key[0], "row": key[1], "question": entry["question"], "reference": entry["answer"],
                          "model": model, "answer": found[key][model]})  # fmt: skip
    if not table:
        raise WagleError(
            "no generated answers to show", "prompts under evaluation.generation.roles"
        )
    return pd.DataFrame(table)


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """One row a model under each prompt, the prompt and its reference on rows of their own: what Markdown and LaTeX show."""
    rows = []
    for (split, number), group in table.groupby(["split", "row"], sort=False):
        rows.append(
            {
                "": f"{split.removesuffix('_perturbed').replace('_', ' ')} {number + 1}",
                "text": group["question"].iloc[0],
            }
        )
        rows.append({"": "reference", "text": group["reference"].iloc[0]})
        rows += [{"": row.model, "text": row.answer} for row in group.itertuples()]
    return pd.DataFrame(rows)
