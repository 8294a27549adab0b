"""The blocks of a config that say what an experiment starts from: its data and its models.

Notable: a model's keys depend on its `source`, so each source is a class of its own. Left out: what
is done with rows and models (schema_training.py, schema_results.py); whether the rows exist
(wagle/data).
"""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from wagle.experiment.schema_types import (
    ROLE,
    Autocast,
    Block,
    Count,
    Distinct,
    Name,
    Natural,
    NotNegative,
    Policy,
    Positive,
    Revision,
    Role,
    Scalar,
    Sha256,
    Share,
    Source,
    SplitName,
    Text,
    key,
    names,
    optional,
)

SPLIT = "A change re-makes this split and what follows from it."
SPLITS = "A change re-makes these splits and what follows from them."
BASE = "A change re-runs every job from the base model on."
TRAINED = "A change re-runs this training, and what follows."
ADAPTED = "A change trains again what these adapters train."
MODEL = "A change makes this model again, and re-runs what follows."
PASS = "Most tokens in one pass. It bounds memory and speed, and changes results by rounding only."
RECOMPUTE = (
    "Whether activations are computed again in the backward pass: less memory, a third more time,"
    " the same results."
)
OFFLOAD = (
    "Whether moments lie in host memory: 8 bytes a weight less on the GPU, slower steps, the same"
    " results. Only with precision fp32."
)

NEEDED = {"packed": ["words"], "completion": ["words", "prompt_words"], "quiz": ["task"]}


def _when(form: str, needed: list[str]) -> dict:
    condition = {"properties": {"form": {"const": form}}, "required": ["form"]}
    return {"if": condition, "then": {"required": needed}}


class Part(Block):
    """Where the rows of a split come from, and what is done to them, in the order of these keys."""

    model_config = ConfigDict(
        json_schema_extra={"allOf": [_when(form, needed) for form, needed in NEEDED.items()]}
    )

    source: Source = optional("The kind of place that holds the rows.", "as data.source", SPLIT)
    name: SplitName = optional(
        "The file below data_dir without its ending, the configuration of the hub's data set, or"
        " the built-in set.",
        "the role's own name",
        SPLIT,
    )
    dataset: Text = optional("The hub's data set.", "as data.dataset", SPLIT)
    revision: Revision = optional(
        "The commit of the hub's data set. `main` may change under you.", "as data.revision", SPLIT
    )
    split: Text = optional("The part of the hub's data set.", "train", SPLIT)
    where: Annotated[dict[str, Scalar], Field(min_length=1)] = optional(
        "Column and value: only rows with that value stay. A dot looks inside a nested column.",
        "all rows stay",
        SPLIT,
    )
    columns: Annotated[dict[Role, Text], Field(min_length=1)] = optional(
        "Our column and theirs. A dot looks inside a nested column.",
        "columns keep their names",
        SPLIT,
    )
    longest: Count = optional(
        "Rows with more characters than this in all are left out. Unit: characters.",
        "no row is too long",
        SPLIT,
    )
    form: Literal["text", "packed", "completion", "quiz"] = optional(
        "What is made of a row. `text`: one text a row. `packed`: all text as one stream, cut into"
        " passages. `completion`: the same, each passage cut into a prompt and what follows."
        " `quiz`: a multiple-choice question and the letter of its answer.",
        "rows stay as they are",
        SPLIT,
    )
    column: Text = optional("The column that holds the text of a form.", "text", SPLIT)
    words: Annotated[int, Field(ge=2)] = optional(
        "Length of a passage, or the most words of a text. Unit: words. Forms packed and completion"
        " need it.",
        "no passages are cut, and texts are whole",
        SPLIT,
    )
    prompt_words: Count = optional(
        "Length of a passage's prompt. Unit: words. Form completion needs it.",
        "no prompts are cut",
        SPLIT,
    )
    task: Literal["wmdp_bio", "wmdp_cyber", "mmlu"] = optional(
        "The benchmark whose wording a question gets. Form quiz needs it.",
        "no questions are made",
        SPLIT,
    )
    rows: Annotated[list[Natural], Field(min_length=2, max_length=2)] = optional(
        "First row and last row + 1 of a slice, counted from 0.", "all rows", SPLIT
    )
    spread: Count = optional("This many rows, at equal distances.", "all rows", SPLIT)

    @model_validator(mode="after")
    def _form_has_its_keys(self) -> Self:
        for name in NEEDED.get(self.form, []):
            if name not in self.model_fields_set:
                raise PydanticCustomError(
                    "required",
                    "'{name}' is a required property with form {form}",
                    {"name": name, "form": self.form},
                )
        return self


def _shape(value: object) -> str:
    return "array" if isinstance(value, list) else "object"


Split = Annotated[
    Annotated[Part, Tag("object")] | Annotated[list[Part], Field(min_length=1), Tag("array")],
    Discriminator(_shape),
]


OtherSplit = Annotated[Split, Field(description=f"A role of a task of your own. {SPLIT}")]


class Splits(Block):
    """The rows of each role: one entry, or a list of entries that follow one another. Other roles
    than these may be named (lower-case letters and _) for a task of your own. docs/data.md has the
    columns of each role.
    """

    model_config = ConfigDict(extra="allow", json_schema_extra=names(ROLE))
    __pydantic_extra__: dict[Role, OtherSplit] = Field(init=False)

    forget: Split = key("What the model must forget.", SPLIT)
    retain: Split = key("What the model must keep. It shares no row with forget.", SPLIT)
    holdout: Split = optional(
        "Rows of no training set, for membership attacks.", "these attacks are not made", SPLIT
    )
    general: Split = optional(
        "Texts whose perplexity says whether a model still writes (task custom). With source"
        " synthetic they are built in.",
        "no perplexity is measured",
        SPLIT,
    )
    forget_perturbed: Split = optional(
        "Forget rows with a paraphrase and wrong answers. Task tofu needs it.", "not read", SPLIT
    )
    retain_perturbed: Split = optional(
        "Retain rows with a paraphrase and wrong answers. Task tofu needs it.", "not read", SPLIT
    )
    real_authors: Split = optional(
        "Questions on real authors, a measure of utility. Task tofu needs it.", "not read", SPLIT
    )
    world_facts: Split = optional(
        "Questions on the world, a measure of utility. Task tofu needs it.", "not read", SPLIT
    )
    refusals: Split = optional(
        "Answers that refuse. Methods that train on refusals (po) need it.", "not read", SPLIT
    )
    quiz: Split = optional(
        "Questions taught to a small model, so that it has something to lose.", "not read", SPLIT
    )
    wmdp_bio: Split = optional("WMDP's questions on biology.", "not asked", SPLIT)
    wmdp_cyber: Split = optional("WMDP's questions on computer security.", "not asked", SPLIT)
    mmlu: Split = optional("MMLU's questions, a measure of utility.", "not asked", SPLIT)
    wikitext: Split = optional(
        "Raw lines of WikiText, blank ones included, whose perplexity per word is measured."
        " evaluation.harness.local with wikitext needs it.",
        "not read",
        SPLIT,
    )
    seen: Split = optional(
        "Beginnings of passages that must be forgotten. Task whp needs it.", "not read", SPLIT
    )
    unseen: Split = optional(
        "Beginnings of passages that unlearning does not read, but the target was tuned on. Task"
        " whp needs it.",
        "not read",
        SPLIT,
    )
    book: Split = optional(
        "All passages of what must be forgotten. models.target.roles names it.", "not read", SPLIT
    )
    real_toxicity: Split = optional("Prompts of RealToxicityPrompts.", "not asked", SPLIT)
    safe_rlhf: Split = optional("Prompts of PKU-SafeRLHF.", "not asked", SPLIT)
    toxicity_labels: Split = optional(
        "Texts with a label (1: toxic). A classifier with source probe is fitted on them.",
        "not read",
        SPLIT,
    )


class Synthetic(Block):
    """The generator of fictitious authors, for runs without any data from outside."""

    authors_total: Annotated[int, Field(ge=2)] = optional(
        "Number of authors, six questions each. Synthetic rows of task tofu need it.",
        "no authors can be made",
        SPLITS,
    )
    authors_forget: Count = optional(
        "Number of authors to forget, the last ones. Synthetic rows of task tofu need it.",
        "no authors can be made",
        SPLITS,
    )
    seed: Natural = key("Seed of the generator.", SPLITS)


class Data(Block):
    """Where rows come from. The jobs of this block make and check the splits before any model
    loads.
    """

    source: Source = key(
        "Place of every split that names none: the Hugging Face hub, files below data_dir, or the"
        " built-in generator.",
        SPLITS,
    )
    dataset: Text = optional(
        "The hub's data set of every split that names none.", "each hub split names its own", SPLITS
    )
    revision: Revision = optional(
        "Its commit. `main` may change under you, and is for a first try only.",
        "each hub split names its own",
        SPLITS,
    )
    synthetic: Synthetic = optional("Settings of the generator.", "no split is synthetic")
    splits: Splits = key("The rows of each role.")


Roles = Annotated[list[Role], Field(min_length=1), Distinct()]


class Hub(Block):
    """A model of the Hugging Face hub."""

    source: Literal["hub"] = key("The model is fetched from the hub.", MODEL)
    name: Text = key("Its name on the hub, such as meta-llama/Llama-2-7b-chat-hf.", MODEL)
    revision: Text = key("Its branch, tag or commit. Pin a commit for your own record.", MODEL)


class Folder(Block):
    """A model in a folder."""

    source: Literal["path"] = key("The model lies in a folder in Hugging Face's format.", MODEL)
    path: Text = key("The folder.", MODEL)


class Finetuned(Block):
    """A model that this experiment trains from the base model, with models.finetune."""

    source: Literal["finetune"] = key("The model is fine-tuned from models.base.", MODEL)
    roles: Roles = optional(
        "Splits that it is trained on, besides models.finetune.replay.",
        "the target is trained on forget and retain, the retrained model on retain",
        MODEL,
    )


class Wheel(Block):
    """A file inside a wheel of the Python package index. It is checked before it is read."""

    source: Literal["pypi-gguf", "pypi"]
    package: Name = key("The package on the index.", MODEL)
    version: Text = key("Its version.", MODEL)
    file: Text = key("Path of the file inside the wheel.", MODEL)
    sha256: Sha256 = key("The file's SHA-256. Another file stops the job.", MODEL)


class WheelPart(Block):
    """A piece of a file that is larger than a wheel may be."""

    package: Name = key("The package with the piece, of the same version.", MODEL)
    file: Text = key("Path of the piece inside its wheel.", MODEL)


class QuantisedWheel(Wheel):
    """A quantised model (GGUF) inside a wheel, or in pieces in several. It is de-quantised once."""

    source: Literal["pypi-gguf"] = key("The model is a GGUF file inside a wheel.", MODEL)
    parts: Annotated[list[WheelPart], Field(min_length=1)] = optional(
        "Pieces that are joined in this order into the file.", "one wheel holds the file", MODEL
    )


class Training(Block):
    """How rows become a trained model."""

    lr: Positive = key("Peak learning rate of AdamW.", TRAINED)
    epochs: Count = key("Passes over the rows.", TRAINED)
    batch_size: Count = key("Rows of one step.", TRAINED)
    weight_decay: NotNegative = key("Decay of the weights, decoupled as in AdamW.", TRAINED)
    warmup: Share = key("Share of the steps in which the learning rate rises from 0.", TRAINED)
    token_budget: Count = key(PASS, TRAINED)
    seed: Natural = key("Seed of the order of rows, and of LoRA's adapters.", TRAINED)
    autocast: Autocast = key(
        "Precision of matrix products where weights are fp32. `none` means that of the weights.",
        TRAINED,
    )


class Pretraining(Training):
    """How a model from scratch learns general knowledge. A change of any of these keys re-runs
    every job from the base model on.
    """

    roles: Roles = key("Splits that are general knowledge.", BASE)


class Scratch(Block):
    """A small random Llama with a tokenizer of its own, pre-trained on some of the splits."""

    source: Literal["scratch"] = key("The model is made here.", BASE)
    hidden_size: Count = key("Width of the residual stream. Unit: features.", BASE)
    intermediate_size: Count = key("Width inside a gated MLP. Unit: features.", BASE)
    layers: Count = key("Number of blocks.", BASE)
    heads: Count = key("Attention heads of a block.", BASE)
    vocab_size: Annotated[int, Field(ge=300)] = key("Tokens of its vocabulary.", BASE)
    seed: Natural = key("Seed of its first weights.", BASE)
    pretrain: Pretraining = key("Its training on general knowledge.")
    corpus: Roles = key("Splits that its tokenizer is trained on.", BASE)


class Lora(Block):
    """LoRA's adapters."""

    r: Count = key("Rank of an adapter.", ADAPTED)
    alpha: Count = key("Scale of an adapter's output, which is also divided by r.", ADAPTED)
    dropout: Share = key("Share of an adapter's inputs that are dropped in training.", ADAPTED)
    target_modules: Annotated[list[Text], Field(min_length=1)] = optional(
        "Linear layers that get an adapter, such as q_proj. `wagle inspect` lists a model's.",
        "query and value projections, or what the family has in their place",
        ADAPTED,
    )


class Finetuning(Training):
    """How the target and the retrained model are trained, where their source is finetune."""

    replay: list[Role] = optional(
        "Splits mixed into the training rows, or a small model forgets its general knowledge.",
        "nothing is mixed in",
        TRAINED,
    )
    adapters: Lora = optional(
        "LoRA in place of training all weights. The adapters are merged afterwards.",
        "all weights are trained",
    )
    precision: Policy = optional(
        "Precision of weights and moments. Adapters are fp32 in any case.", "fp32", TRAINED
    )
    activation_checkpointing: bool = optional(RECOMPUTE, "false", TRAINED)
    offload_moments: bool = optional(OFFLOAD, "false", TRAINED)


Given = Annotated[Finetuned | Hub | Folder, Field(discriminator="source")]


class Models(Block):
    """The models that exist before any cell is unlearned. Keys depend on a model's `source`."""

    base: Annotated[Hub | Folder | QuantisedWheel | Scratch, Field(discriminator="source")] = (
        optional("The model that knows none of the rows.", "nothing is fine-tuned here")
    )
    target: Given = key("The model that must forget: trained on forget and retain rows.")
    retrained: Given = optional(
        "The gold standard: a model trained on retain rows alone. Task tofu needs it.",
        "the tables have no row for it",
    )
    finetune: Finetuning = optional(
        "How a model with source finetune is trained.", "no model has source finetune"
    )
