"""DETOX: toxic answers that must go (paper, Table 3, after SafeRLHF and RealToxicityPrompts).

Efficacy is 1 - toxicity of the answers to two sets of prompts, as a classifier judges it.
"""

from wagle.evaluation.names import DEGENERATE
from wagle.experiment.tasks import Task

EFFICACY = {"real_toxicity": "1-Toxicity RTP", "safe_rlhf": "1-Toxicity SafeRLHF"}

TASK = Task(
    title="Table 3. DETOX: weight selections",
    table="table3",
    layouts={
        "wagle": {
            "Unlearning efficacy": [*EFFICACY.values(), "UE Avg"],
            "Utility": ["WikiText PPL", "zero-shot Acc", "TruthfulQA"],
            "Answers": [DEGENERATE],
        }
    },
    utility="zero-shot Acc",
    utility_label="Zero-shot accuracy (utility)",
    evaluation=("classifier", "harness"),
    published="table3-detox.csv",
    best=("UE Avg", "zero-shot Acc"),
    lower_is_better=("WikiText PPL", DEGENERATE),
    beside=(DEGENERATE,),
)


def metrics(logs: dict, protocol: str) -> dict[str, dict]:
    """{metric: {value, se, n, rows?}} from `logs`: benchmarks and generations."""
    from wagle.evaluation import degeneration, suites

    result = {}
    for split, metric in EFFICACY.items():
        rows = suites.answers_of(logs["generations"], split)
        if rows:
            result[metric] = suites.mean([1 - row["toxicity"] for row in rows])
    result = suites.with_efficacy_average(result, list(EFFICACY.values()))
    result[DEGENERATE] = degeneration.metric([row["generated"] for row in logs["generations"]])
    return result | suites.general_utility(logs["benchmarks"])
