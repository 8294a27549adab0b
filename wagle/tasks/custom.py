"""Your own rows: what must be forgotten, what must stay, and nothing else.

Rows are questions with answers, or plain texts. Efficacy and utility are four numbers each
(wagle/evaluation/own_rows.py). General text measures the language model as such. A retrained model
adds forget quality, and a holdout adds membership attacks. docs/own-data.md is the guide.
"""

from wagle.evaluation.names import DEGENERATE, REMEMBERED
from wagle.experiment.tasks import Task

QUALITY = ("forget quality", "KS")
MEMBERSHIP = ("MIA loss", "MIA zlib", "MIA min-k", "MIA min-k++", "privleak")
PERPLEXITY = "general PPL"

TASK = Task(
    title="Your own rows: methods and weight selections",
    table="own",
    layouts={
        "wagle": {
            "Unlearning efficacy": [*(f"1-{kind}" for kind in REMEMBERED), "UE Avg"],
            "Utility": [*(f"retain {kind}" for kind in REMEMBERED), "UT Avg", PERPLEXITY],
            "Answers": [DEGENERATE],
            "Against retrained": [*QUALITY],
            "Membership": [*MEMBERSHIP],
        }
    },
    utility="UT Avg",
    utility_label="UT Avg (utility)",
    evaluated=("forget", "retain", "general"),
    evaluation=("scoring",),
    scoring_log=True,
    best=("UE Avg", "UT Avg"),
    lower_is_better=(PERPLEXITY, DEGENERATE, "KS"),
    optional=(PERPLEXITY, *QUALITY, *MEMBERSHIP),
)


def metrics(logs: dict, protocol: str) -> dict[str, dict]:
    """{metric: {value, se, n, rows?}} from `logs`: scores, generations, the reference's scores."""
    from wagle.evaluation import own_rows

    return own_rows.metrics(logs["scores"], logs["generations"], logs.get("reference"))
