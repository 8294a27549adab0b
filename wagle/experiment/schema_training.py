"""The blocks of a config that say how weights are chosen and a model is made to forget.

Notable: a selection's and a method's `options` are checked against its module elsewhere
(wagle/experiment/config). Left out: how the target model itself is trained (schema_inputs.py).
"""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from wagle.experiment.official import ALL, HABITS
from wagle.experiment.schema_inputs import OFFLOAD, PASS, RECOMPUTE, Lora
from wagle.experiment.schema_types import (
    NAME,
    Autocast,
    Block,
    Count,
    Distinct,
    Gamma,
    MethodName,
    Module,
    Name,
    NotNegative,
    Options,
    Policy,
    Positive,
    Precision,
    Ratio,
    Share,
    Text,
    key,
    names,
    optional,
)

GRADIENTS = "A change re-runs gradients, and the scores, masks and cells made from them."
BOTH = "A change re-runs gradients, activations, and the scores, masks and cells made from them."
ESTIMATE = "A change re-runs this estimate, and the scores, masks and cells made from it."
MASKS = "A change re-runs this selection's masks and cells."
SCORES = "A change re-runs this selection's scores, masks and cells."
LORA = "A change re-runs this selection's cells."
UNREAD = "the same, for only the selection named lora has adapters"
CELLS = "A change re-runs the cells of this method."
TUNED = "A change re-runs the cells that it holds for."
WIDER = "what the wider block says: for an override the method, for a method `unlearning`"
METHODS = "the method's"
UNLEARN = "A change re-runs every cell."
NOTHING = "A change re-runs nothing."


Labels = Literal["answer", "refusal"]
OfficialHabits = Annotated[
    list[Literal[(ALL, *HABITS)]], Field(min_length=1), Distinct()  # type: ignore[valid-type]
]


class Attribution(Block):
    """How gradients and activations of the target model are taken. Scores are made from them."""

    reduction: Literal["sum", "mean"] = key(
        "Whether gradients are summed or averaged over rows. A gamma means nothing without it.",
        GRADIENTS,
    )
    forget_labels: Labels = key(
        "The answer whose loss gives the forget gradient: the row's own, or a refusal drawn with"
        " the cell's seed. A method may have its own.",
        "A change re-runs the forget gradient, and the scores, masks and cells made from it.",
    )
    calibration_samples: Count = key(
        "Forget rows behind the activations that Wanda reads. Unit: rows.",
        "A change re-runs activations, and the scores, masks and cells made from them.",
    )
    token_budget: Count = key(PASS, BOTH)
    precision: Precision = key("Precision of the weights. Sums are always fp32.", BOTH)
    activation_checkpointing: bool = optional(RECOMPUTE, "false", NOTHING)


class Curvature(Block):
    """An estimate of the retain Hessian's diagonal (docs/curvature.md). Scores read it by name."""

    module: Module = optional(
        "The module that computes the estimate.", "`wagle.curvatures.<name>`", ESTIMATE
    )
    rows: Count = optional(
        "Retain rows that it sees: the first so many of the seed's draw.",
        "all that the retain gradient sees",
        ESTIMATE,
    )
    options: Options = optional("Further options of the estimator.", "its own", ESTIMATE)


class Budget(Block):
    """How the selected weights are shared among tensors or rows (docs/budgets.md)."""

    model_config = ConfigDict(
        json_schema_extra={"minProperties": 1, "not": {"required": ["rule", "module"]}}
    )

    rule: Name = optional(
        "uniform, rows, erk, lamp, owl or mass: a module of `wagle.budgets`.",
        "module names another",
        MASKS,
    )
    module: Module = optional("A module of your own.", "rule names one", MASKS)
    options: Options = optional("Further options of the rule.", "the rule's own", MASKS)

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if len(self.model_fields_set & {"rule", "module"}) != 1:
            raise PydanticCustomError("value", "have one of rule and module")
        return self


class Selection(Block):
    """Which weights a method may change. The names dense (all weights) and lora (adapters) have
    keys of their own. Every other selection has a score, and a mask of the weights that score best.
    """

    module: Module = optional(
        "The module that computes the score.", "`wagle.scores.<name>`", SCORES
    )
    gamma: Gamma = optional(
        "Scale of the retain Hessian: the larger, the less the retain term counts. A number is part"
        " of the cells' names. auto takes the curvature of the retain loss along its gradient"
        " (docs/curvature.md).",
        "the score must not need one",
        SCORES,
    )
    curvature: Name = optional(
        "The estimate of the retain Hessian's diagonal that the score reads: a name of"
        " `curvatures`, or a module of `wagle.curvatures`.",
        "the score must not need one",
        SCORES,
    )
    curvature_per: Literal["weight", "tensor", "layer"] = optional(
        "What has one number of the curvature. A tensor and a layer have their mean.",
        "weight",
        SCORES,
    )
    budget: Budget = optional(
        "How the selected weights are shared among tensors or rows. What has no score is frozen.",
        "the score ranks all weights of the model, or of each row, together",
    )
    options: Options = optional("Further options of the score.", "the score's own", SCORES)
    matched: bool = optional(
        "Whether a row-wise selection keeps to the ratio. All weights outside linear layers are"
        " then frozen, and the rows share exactly ratio * n weights.",
        "false: all weights outside linear layers change besides",
        "A change re-runs this selection's masks and cells.",
    )
    lr: Positive = optional(
        "Peak learning rate of this selection's cells.",
        "the method's",
        "A change re-runs this selection's cells.",
    )
    r: Count = optional("Rank of an adapter.", UNREAD, LORA)
    alpha: Count = optional("Scale of an adapter's output.", UNREAD, LORA)
    dropout: Share = optional("Share of an adapter's inputs dropped.", UNREAD, LORA)
    target_modules: Annotated[list[Text], Field(min_length=1)] = optional(
        "Linear layers that get an adapter.", UNREAD, LORA
    )


class DenseSelection(Block):
    """All weights may change. There is neither score nor mask."""

    lr: Positive = optional(
        "Peak learning rate of this selection's cells.",
        "the method's",
        "A change re-runs this selection's cells.",
    )


class LoraSelection(Lora, DenseSelection):
    """Adapters are trained, and merged into the weights afterwards."""


class Selections(Block):
    """The sets of weights that are compared. Each is crossed with every method and seed. A new name
    adds its cells, and no other cell runs again.
    """

    model_config = ConfigDict(extra="allow", json_schema_extra=names(NAME) | {"minProperties": 1})
    __pydantic_extra__: dict[Name, Selection] = Field(init=False)

    dense: DenseSelection = optional("All weights.", "no cell changes all weights")
    lora: LoraSelection = optional("LoRA's adapters.", "no cell has adapters")

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.model_fields_set:
            raise PydanticCustomError("value", "have at least one selection")
        return self


class Tuned(Block):
    """What a method or one of its overrides may say of cells."""

    options: Options = optional(
        "Further options of the loss. An override's are added to the method's.",
        "the loss's own",
        TUNED,
    )
    precision: Policy = optional("Precision of weights and moments.", WIDER, TUNED)
    autocast: Autocast = optional("Precision of matrix products.", WIDER, TUNED)
    batch_size: Count = optional("Forget rows of one step.", WIDER, TUNED)
    warmup: Share = optional(
        "Share of the steps in which the learning rate rises from 0.", WIDER, TUNED
    )
    clip: Positive = optional("Largest norm of a step's gradient.", WIDER, TUNED)
    least_moved: Share = optional(
        "Share of the selected weights that must have moved.", WIDER, TUNED
    )
    forget_labels: Labels = optional(
        "The answer whose loss gives the forget gradient behind the masks.",
        "for an override the method's, for a method attribution.forget_labels",
        "A change re-runs the masks and cells that it holds for.",
    )
    official: OfficialHabits = optional(
        "Habits of the official code (docs/official.md), instead of those of the wider block.",
        "for an override the method's, for a method `official` at the top level",
        "A change re-runs the masks and cells that a habit acts on.",
    )


class Override(Tuned):
    """What differs from the method for its cells with one selection. A change re-runs them."""

    lr: Positive = optional(
        "Peak learning rate. It goes before the selection's own.", METHODS, TUNED
    )
    epochs: Count = optional("Passes over the forget rows, instead of steps.", METHODS, TUNED)
    steps: Count = optional("Number of steps, instead of epochs.", METHODS, TUNED)
    weight_decay: NotNegative = optional("Decay of the selected weights.", METHODS, TUNED)
    ratio: Ratio = optional(
        "Share of the weights that the masks select. A selection without masks has none.",
        METHODS,
        "A change makes the masks and cells of the new ratio.",
    )


class Method(Tuned):
    """How the target model is made to forget."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["epochs"]}, {"required": ["steps"]}]}
    )

    module: Module = optional(
        "The module that computes the loss.", "`wagle.objectives.<name>`", CELLS
    )
    lr: Positive = key("Peak learning rate of AdamW.", CELLS)
    epochs: Count = optional(
        "Passes over the forget rows. A method needs epochs or steps.", "steps counts", CELLS
    )
    steps: Count = optional(
        "Number of steps, whatever the epochs. A method needs epochs or steps.",
        "epochs counts",
        CELLS,
    )
    weight_decay: NotNegative = key("Decay of the selected weights, decoupled.", CELLS)
    ratio: Ratio = key(
        "Share of the weights that every mask of this method selects.",
        "A change makes the masks and cells of the new ratio.",
    )
    overrides: dict[Name, Override] = optional(
        "What differs for the cells with one selection: the selection's name, and its settings.",
        "nothing differs",
    )

    @model_validator(mode="after")
    def _has_a_length(self) -> Self:
        if not self.model_fields_set & {"epochs", "steps"}:
            raise PydanticCustomError("required", "'epochs' or 'steps' is a required property")
        return self


Methods = Annotated[dict[MethodName, Method], Field(min_length=1)]


class Unlearning(Block):
    """What all methods share when they train a cell."""

    precision: Policy = key(
        "Precision of weights and moments. bf16 is the paper's, in which small updates vanish"
        " (docs/training.md).",
        UNLEARN,
    )
    autocast: Autocast = key(
        "Precision of matrix products where weights are fp32. `none` means that of the weights.",
        UNLEARN,
    )
    batch_size: Count = key("Forget rows of one step. Each comes with one retain row.", UNLEARN)
    warmup: Share = key("Share of the steps in which the learning rate rises from 0.", UNLEARN)
    clip: Positive = key(
        "Largest norm of a step's gradient over all weights. A longer one is scaled down.", UNLEARN
    )
    token_budget: Count = key(PASS, UNLEARN)
    least_moved: Share = key(
        "Share of the selected weights that must have moved by more than weight decay alone, as"
        " evaluation reads them. A cell that moved fewer fails.",
        UNLEARN,
    )
    activation_checkpointing: bool = optional(RECOMPUTE, "false", UNLEARN)
    offload_moments: bool = optional(OFFLOAD, "false", UNLEARN)
