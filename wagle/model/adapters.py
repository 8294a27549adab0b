"""LoRA through peft: fresh adapters on a model, and their merge back into its weights."""

from collections.abc import Iterable
from typing import NamedTuple

import torch

from wagle.errors import WagleError, did_you_mean
from wagle.model.families import default_lora_targets


class Merged(NamedTuple):
    """A model with its adapters merged in, and the names of the weights that carried one."""

    model: object
    adapted: set[str]


def add_adapters(
    model,
    *,
    r: int,
    alpha: int,
    dropout: float,
    target_modules: list[str] | None = None,
    seed: int,
):
    """A peft model around `model` with fresh LoRA adapters: A random by `seed`, B zero.

    r, alpha, dropout, target_modules: as in peft.LoraConfig. Without target modules they are those
        of default_lora_targets(), or all linear layers of a model that has none of these.

    Raises WagleError when the model lacks one of the target modules, or cannot adapt it.
    """
    from peft import LoraConfig, get_peft_model

    if target_modules is None:
        names = [name for name, _ in model.named_parameters()]
        target_modules = default_lora_targets(names) or "all-linear"
    else:
        check_targets(target_modules, [name for name, _ in model.named_modules()])
    torch.manual_seed(seed)
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=target_modules,
        bias="none",
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise WagleError(
            f"LoRA does not fit this model: {error}", "target_modules that are linear layers"
        ) from None


def check_targets(target_modules: list[str], modules: Iterable[str]) -> None:
    """Raise WagleError where a target is no module's name, nor the end of one.

    modules: dotted names of the model's modules, as named_modules() gives them.
    """
    modules = list(modules)
    for target in target_modules:
        if not any(f".{name}".endswith(f".{target}") for name in modules):
            known = {name.rpartition(".")[2] for name in modules}
            known = sorted(name for name in known if name and not name.isdigit())
            raise WagleError(
                f"target_modules: the model has no module {target!r}{did_you_mean(target, known)}",
                f"some of {', '.join(known)}",
                "leave target_modules out to adapt query and value projections",
            )


def merge(model) -> Merged:
    """Add the adapters of a peft model to the weights of the model inside it."""
    adapted = {
        name.removeprefix("base_model.model.").removesuffix(".base_layer.weight") + ".weight"
        for name, _ in model.named_parameters()
        if name.endswith(".base_layer.weight")
    }
    return Merged(model.merge_and_unload(), adapted)
