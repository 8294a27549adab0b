"""TOFU: fictitious authors, some of whom are to be forgotten (arXiv 2401.06121; paper, Table 1).

Every metric is a function of one scoring log and the generated answers. Four protocols read them:
the paper's text, its code, TOFU's own and open-unlearning's (docs/metrics.md).
"""

from wagle.evaluation.names import DEGENERATE, EFFICACY, UTILITY, UTILITY_SPLITS
from wagle.experiment.tasks import Task

# FQ is a p value; the KS statistic beside it is the distance that FQ tests. Averages are the
# paper's.
PAPER = {
    "Unlearning efficacy": ["FQ", "KS", *EFFICACY[1:], "UE Avg", "extraction strength"],
    "Utility": [*UTILITY, "UT Avg"],
    "Answers": [DEGENERATE],
}
TOFU = {
    "Forgetting": ["forget quality", "forget truth ratio", "forget probability", "forget Rouge-L"],
    "Memorization": ["exact memorization", "extraction strength"],
    "Utility": ["retain probability", "retain Rouge-L", "retain truth ratio", "model utility"],
    "Answers": [DEGENERATE],
}
MEMBERSHIP = {  # needs a holdout split
    "Membership": ["MIA loss", "MIA zlib", "MIA min-k", "MIA min-k++", "privleak"]
}

TASK = Task(
    title="Table 1. TOFU: methods and weight selections",
    table="table1",
    layouts={
        "wagle": PAPER,
        "wagle-code": PAPER,
        "wagle-attack-text": PAPER,
        "wagle-ties": PAPER,
        "tofu": TOFU,
        "open-unlearning": TOFU | MEMBERSHIP,
    },
    utility="UT Avg",
    utility_label="UT Avg (utility)",
    splits=("forget_perturbed", "retain_perturbed", "real_authors", "world_facts"),
    evaluation=("scoring", "embedder"),
    scoring_log=True,
    needs_retrained=True,
    published="table1-tofu.csv",
    best=("UE Avg", "UT Avg", "model utility"),
    lower_is_better=("extraction strength", DEGENERATE),
    beside=("KS", "extraction strength", DEGENERATE),
    optional=("forget quality", "privleak"),  # they compare with the retrained model
)


def metrics(logs: dict, protocol: str) -> dict[str, dict]:
    """{metric: {value, se, n, rows?}} from `logs`: scores, generations, the reference's scores."""
    from wagle.evaluation import degeneration, protocols

    kept = [
        entry["generated"]
        for entry in logs["generations"]
        if entry["split"] in UTILITY_SPLITS and entry["asked"] == "original"
    ]
    reference = logs.get("reference")
    result = protocols.evaluate(protocol, logs["scores"], logs["generations"], reference)
    return result | {DEGENERATE: degeneration.metric(kept)}
