"""LoRA through peft: fresh adapters on a model, and their merge back into its weights."""

from typing import NamedTuple

import torch

from wagle.errors import WagleError


class Merged(NamedTuple):
    """A model with its adapters merged in, and the names of the weights that carried one."""

    model: object
    adapted: set[str]


def add_adapters(
    model, *, r: int, alpha: int, dropout: float, target_modules: list[str], seed: int
):
    """A peft model around `model` with fresh LoRA adapters: A random by `seed`, B zero.

    r, alpha, dropout, target_modules: as in peft.LoraConfig.

    Raises WagleError when the model has none of the target modules.
    """
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(target_modules),
        bias="none",
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise WagleError(
            f"LoRA does not fit this model: {error}", "target_modules that the model has"
        ) from None


def merge(model) -> Merged:
    """Add the adapters of a peft model to the weights of the model inside it."""
    adapted = {
        name.removeprefix("base_model.model.").removesuffix(".base_layer.weight") + ".weight"
        for name, _ in model.named_parameters()
        if name.endswith(".base_layer.weight")
    }
    return Merged(model.merge_and_unload(), adapted)
