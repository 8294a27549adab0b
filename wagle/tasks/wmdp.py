"""WMDP: hazardous knowledge in biology and cyber security (arXiv 2403.03218; paper, Table 2).

Efficacy is 1 - accuracy on the two benchmarks, utility is MMLU accuracy. The harness measures all
three. No text is generated, so there are no answers that could degenerate, and no cell is marked.
"""

from wagle.experiment.tasks import Task

EFFICACY = {"wmdp_bio": "1-FA Bio", "wmdp_cyber": "1-FA Cyber"}  # harness task -> metric

TASK = Task(
    title="Table 2. WMDP: methods and weight selections",
    table="table2",
    layouts={"wagle": {"Unlearning efficacy": [*EFFICACY.values(), "UE Avg"], "Utility": ["MMLU"]}},
    utility="MMLU",
    utility_label="MMLU accuracy (utility)",
    evaluation=("harness",),
    published="table2-wmdp.csv",
    best=("UE Avg", "MMLU"),
)


def metrics(logs: dict, protocol: str) -> dict[str, dict]:
    """{metric: {value, se, n, rows?}} from `logs`: benchmarks and generations."""
    from wagle.evaluation import suites

    accuracy = suites.harness_accuracies(logs["benchmarks"])
    result = {
        metric: suites.one_minus(accuracy[name])
        for name, metric in EFFICACY.items()
        if name in accuracy
    }
    if "mmlu" in accuracy:
        result["MMLU"] = accuracy["mmlu"]
    return suites.with_efficacy_average(result, list(EFFICACY.values()))
