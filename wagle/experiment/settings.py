"""Settings of the cells of one method with one selection, from all blocks that say something of it.

A narrower block goes before a wider one, key by key:

    methods.<method>.overrides.<selection>
    selections.<selection>.lr
    methods.<method>
    unlearning, attribution.forget_labels, official

`options` of an override are added to the method's, key by key too. A narrower `epochs` also
replaces a wider `steps`, and the other way round.

Notable: standard library only, for Snakemake asks on every start.
"""

from dataclasses import dataclass

from wagle.experiment import official
from wagle.experiment.plugins import objective_module, reads_refusals

NOT_TRAINING = ("module", "ratio", "options", "forget_labels", "official", "overrides")
LENGTHS = ("epochs", "steps")


@dataclass(frozen=True)
class Settings:
    """What one method's cells with one selection are made with.

    ratio: share of the weights that their masks select.
    forget_labels: labels of the forget gradient behind their masks, `answer` or `refusal`.
    habits: of the official code, by name.
    options: keyword arguments of the loss.
    training: fields of TrainingOptions, without the seed.
    encoding: keyword arguments of encode_rows() for the rows that are trained on.
    least_moved: share of the selected weights that must move.
    """

    ratio: float
    forget_labels: str
    habits: frozenset[str]
    options: dict
    training: dict
    encoding: dict
    least_moved: float


def blocks(config: dict, method: str, selection: str) -> list[dict]:
    """What each block says of `method` with `selection`, the widest first."""
    own = config["methods"][method]
    chosen = config["selections"][selection]
    return [
        config["unlearning"]
        | {"forget_labels": config["attribution"]["forget_labels"]}
        | {"official": config.get("official", [])},
        own,
        {"lr": chosen["lr"]} if "lr" in chosen else {},
        own.get("overrides", {}).get(selection, {}),
    ]


def settings_of(config: dict, method: str, selection: str) -> Settings:
    """The settings of `method` with `selection`."""
    merged: dict = {"options": {}}
    for block in blocks(config, method, selection):
        if block.keys() & set(LENGTHS):
            merged = {key: value for key, value in merged.items() if key not in LENGTHS}
        merged |= block | {"options": merged["options"] | block.get("options", {})}
    habits = official.habits(merged["official"])
    module = objective_module(method, config["methods"][method])
    of_rows = habits if reads_refusals(module) else habits - official.REFUSALS.keys()
    training = {key: value for key, value in merged.items() if key not in NOT_TRAINING}
    least_moved = training.pop("least_moved")
    return Settings(
        ratio=merged["ratio"],
        forget_labels=merged["forget_labels"],
        habits=habits,
        options=merged["options"],
        training=training | official.options(official.TRAINING, habits),
        encoding=official.encoding(config, of_rows),
        least_moved=least_moved,
    )
