"""The keys of an experiment's config, as pydantic models that check a config and change nothing.

A config is complete: no default is filled in, so a run can be read off one page, and the rest of
the code uses the mapping as it was loaded. Every key has a description, from which
docs/config.md and config/schema.json are made (schema_docs.py).

Notable: the models are built at the first check, which takes 30 ms. To add a block, write its class
in schema_training.py or schema_results.py, and add one key to Experiment. Left out: whether names
refer to what there is (wagle/experiment/config).
"""

from typing import Annotated, Literal

from pydantic import Field, ValidationError

from wagle.errors import WagleError
from wagle.experiment.schema_inputs import Data, Models
from wagle.experiment.schema_results import Evaluation, Examples, Figures, Resources
from wagle.experiment.schema_training import (
    Attribution,
    Methods,
    OfficialHabits,
    Selections,
    Unlearning,
)
from wagle.experiment.schema_tuning import Tuning
from wagle.experiment.schema_types import (
    Block,
    Distinct,
    Name,
    Natural,
    Task,
    Text,
    key,
    optional,
)

ENCODING = "A change re-runs every job that reads rows with a model, and what follows."


class Experiment(Block):
    """One experiment."""

    experiment: Name = key(
        "Its name. Results lie below `results/<experiment>/`.",
        "A change runs everything anew, below the new name.",
    )
    task: Task = key(
        "What is forgotten and how that is measured: tofu, wmdp, whp, detox, custom for your own"
        " rows (docs/own-data.md), or the dotted name of a module with a task of your own.",
        "A change evaluates every model again.",
    )
    note: str = optional(
        "One sentence shown in the report, such as what stands in for what.",
        "no sentence",
        "A change makes the report again.",
    )
    seeds: Annotated[list[Natural], Field(min_length=1), Distinct()] = key(
        "Seeds of the order of rows, retain draws, refusals, random masks, calibration draws and"
        " LoRA. Tables give means over them.",
        "A new seed adds its cells, and no other cell runs again.",
    )
    data_dir: str | None = key(
        "Folder of the .jsonl, .jsonl.gz or .txt files of splits with source files. null: none, or"
        " the one on the command line (--config data_dir=...).",
        "A change reads these splits again.",
    )
    template: str = key(
        "Text around a question and its answer: {question}, and {answer} at the very end. `chat`"
        " takes the tokenizer's own, and `chat: <system message>` begins each conversation with"
        " that message (docs/data.md).",
        ENCODING,
    )
    max_length: Annotated[int, Field(ge=8)] = key(
        "Longest row. Unit: tokens. What is longer is cut at the right.", ENCODING
    )
    text_padding: Literal["masked", "in-loss", "in-loss-unattended"] = optional(
        "Whether the padding of raw texts carries loss. in-loss-unattended is the official WMDP"
        " code's way: the model does not attend to it.",
        "masked",
        ENCODING,
    )
    data: Data = key("Where rows come from.")
    models: Models = key("The models before unlearning.")
    attribution: Attribution = key("How gradients and activations are taken.")
    selections: Selections = key("Which weights may change.")
    methods: Methods = key(
        "How the target model is made to forget: a name, and its settings. A new name adds its"
        " cells, and no other cell runs again."
    )
    official: OfficialHabits = optional(
        "Habits of the official code that every method has (docs/official.md).",
        "none",
        "A change re-runs the masks and cells that a habit acts on.",
    )
    unlearning: Unlearning = key("What all methods share.")
    tuning: Tuning = optional(
        "The search for each method's and selection's learning rate and ratio (docs/tuning.md).",
        "every cell takes its method's own",
    )
    evaluation: Evaluation = key("What is measured.")
    figures: Figures = key("Figures besides the main table.")
    examples: Examples = optional("Tables of example answers.", "no such table")
    keep: list[Text] = key(
        "Patterns of the cells whose checkpoints stay after their evaluation, such as"
        " `npo/wagle*/*`. `*` keeps all.",
        "It changes disk use, and no number.",
    )
    resources: Resources = key("What jobs ask for.")


def check(config: object, name: str) -> None:
    """Raise WagleError unless `config` has exactly the keys and kinds of values of an experiment.

    `name` is the file that the errors name.
    """
    try:
        Experiment.model_validate(config)
    except ValidationError as error:
        from wagle.experiment.schema_errors import sentences
        from wagle.experiment.schema_json import json_schema

        schema = json_schema(Experiment)
        faults = "; ".join(f"{name}: {fault}" for fault in sentences(error, schema))
        raise WagleError(faults, do="see docs/config.md") from None
