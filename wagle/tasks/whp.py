"""WHP: passages of a book that must not be completed any more (arXiv 2310.02238; paper, Table 3).

Efficacy is 1 - Rouge-L recall of the completions of passages that unlearning saw, and of others.
"""

from wagle.evaluation.names import DEGENERATE
from wagle.experiment.tasks import Task

EFFICACY = ["1-Rouge-L seen", "1-Rouge-L unseen"]

TASK = Task(
    title="Table 3. WHP: weight selections",
    table="table3",
    layouts={
        "wagle": {
            "Unlearning efficacy": [*EFFICACY, "UE Avg"],
            "Utility": ["WikiText PPL", "zero-shot Acc", "TruthfulQA"],
            "Answers": [DEGENERATE],
        }
    },
    utility="zero-shot Acc",
    utility_label="Zero-shot accuracy (utility)",
    splits=("seen", "unseen"),
    evaluation=("harness",),
    published="table3-whp.csv",
    best=("UE Avg", "zero-shot Acc"),
    lower_is_better=("WikiText PPL", DEGENERATE),
    beside=(DEGENERATE,),
)


def metrics(logs: dict, protocol: str) -> dict[str, dict]:
    """{metric: {value, se, n, rows?}} from `logs`: benchmarks and generations."""
    from wagle.evaluation import degeneration, suites
    from wagle.evaluation.metrics import rouge_l_recall

    result = {}
    for split in ("seen", "unseen"):
        rows = suites.answers_of(logs["generations"], split)
        recall = rouge_l_recall([r["answer"] for r in rows], [r["generated"] for r in rows])
        result[f"1-Rouge-L {split}"] = suites.mean(1 - recall)
    result = suites.with_efficacy_average(result, EFFICACY)
    result[DEGENERATE] = degeneration.metric([row["generated"] for row in logs["generations"]])
    return result | suites.general_utility(logs["benchmarks"])
