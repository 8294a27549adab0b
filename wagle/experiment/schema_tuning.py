"""The block of a config that says how learning rate and ratio are searched (docs/tuning.md).

Notable: every method and selection gets the same number of trials. Left out: whether metrics, seeds
and splits fit the rest of the config (wagle/experiment/checks.py).
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from wagle.experiment.schema_types import (
    Block,
    Distinct,
    Natural,
    Positive,
    Ratio,
    Text,
    key,
    optional,
)

TRIALS = "A change runs the trials that are new, the picks, and the tuned cells."
PICKS = "A change re-runs the picks, and the tuned cells."
METRICS = "A change re-runs all metrics and picks, and the tuned cells."
Lrs = Annotated[list[Positive], Field(min_length=1), Distinct()]


class Rows(Block):
    """Which evaluated rows trials are judged on. Reported cells are judged on all the others."""

    share: Annotated[float, Field(gt=0, lt=1)] = key(
        "Share of every evaluated split's rows that trials are judged on.", METRICS
    )
    seed: Natural = key("Seed of which rows these are.", METRICS)


class Constraint(Block):
    """The least value of a metric, as a share of a baseline's."""

    at_least: Positive = key("The share.", PICKS)
    of: Literal["original", "retrained"] = key("The baseline.", PICKS)


class Rule(Block):
    """How trials are judged, under protocol wagle, by means over the tuning seeds."""

    maximise: Text = key("The metric of which the most is best, such as UE Avg.", PICKS)
    subject_to: Annotated[dict[Text, Constraint], Field(min_length=1, max_length=1)] = key(
        "The metric that must not fall too far, such as UT Avg. Where no trial meets this, the one"
        " that comes nearest is taken, and the tables say so.",
        PICKS,
    )


class Tuning(Block):
    """The trials of every method and selection, and the rule that picks one of them."""

    lrs: Lrs = key("Peak learning rates of selections with a mask.", TRIALS)
    ratios: Annotated[list[Ratio], Field(min_length=1), Distinct()] = key(
        "Ratios of selections with a mask. Each is crossed with every one of lrs.", TRIALS
    )
    lrs_without_ratio: Lrs = key(
        "Peak learning rates of dense and lora, which have no ratio: all of lrs and others, as many"
        " as lrs times ratios.",
        TRIALS,
    )
    seeds: Annotated[list[Natural], Field(min_length=1), Distinct()] = key(
        "Seeds of the trials. None is among the experiment's seeds.", TRIALS
    )
    rule: Rule = key("How a trial is picked.")
    rows: Rows = optional(
        "Evaluated rows that only trials are judged on (tasks tofu and custom).",
        "trials and reported cells are judged on the same rows",
    )

    @model_validator(mode="after")
    def _same_budget(self) -> Self:
        trials, others = len(self.lrs) * len(self.ratios), self.lrs_without_ratio
        if len(others) != trials or not set(self.lrs) <= set(others):
            raise PydanticCustomError(
                "value",
                "have {trials} lrs_without_ratio, as many as lrs times ratios, with all of lrs",
                {"trials": trials},
            )
        return self
