"""Tables A1 to A6: the same prompts answered by every model, and the refusals.

The models are the original, the retrained and each unlearned one.
"""

import pandas as pd

from wagle.errors import WagleError


def collect(answers: dict[str, list[dict]], rows: int) -> pd.DataFrame:
    """Every model's answers to the first `rows` prompts of each split, in long form.

    The columns are split, row, question, reference, model, answer. `answers` maps a model's name to
    its generations. Raises WagleError when a model lacks an answer that another one has, or when
    there are none.
    """
    prompts: dict[tuple, dict] = {}
    generated: dict[tuple, dict[str, str]] = {}
    for model, entries in answers.items():
        for entry in entries:
            if entry["row"] < rows and entry.get("asked", "original") == "original":
                key = (entry["split"], entry["row"])
                prompts.setdefault(key, entry)
                generated.setdefault(key, {})[model] = entry["generated"]
    table = []
    for (split, number), entry in prompts.items():
        by_model = generated[split, number]
        for model in answers:
            if model not in by_model:
                raise WagleError(
                    f"{model} has no answer to {split} row {number}",
                    "the same prompts for every model",
                )
            row = {
                "split": split,
                "row": number,
                "question": entry["question"],
                "reference": entry["answer"],
                "model": model,
                "answer": by_model[model],
            }
            table.append(row)
    if not table:
        raise WagleError(
            "no generated answers to show", "prompts under evaluation.generation.roles"
        )
    return pd.DataFrame(table)


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """The table as Markdown and LaTeX show it: under each prompt its reference, then the models.

    `table` is that of `collect`.
    """
    rows = []
    for (split, number), group in table.groupby(["split", "row"], sort=False):
        name = split.removesuffix("_perturbed").replace("_", " ")
        rows.append({"": f"{name} {number + 1}", "text": group["question"].iloc[0]})
        rows.append({"": "reference", "text": group["reference"].iloc[0]})
        rows += [{"": row.model, "text": row.answer} for row in group.itertuples()]
    return pd.DataFrame(rows)
