"""LoRA through peft: fresh adapters on a model, and their merge back into its weights."""

import torch

from wagle.errors import WagleError


def add_adapters(
    model, *, r: int, alpha: int, dropout: float, target_modules: list[str], seed: int
):
    """A peft model with fresh LoRA adapters (A random by `seed`, B zero)."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(r=r, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(target_modules), bias="none",
                        task_type="CAUSAL_LM")  # fmt: skip
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise WagleError(
            f"LoRA does not fit this model: {error}", "target_modules that the model has"
        ) from None


def merge(model):
    """(plain model with the adapters merged in, names of the weights that carried one)."""
    adapted = {
        name.removeprefix("base_model.model.").removesuffix(".base_layer.weight") + ".weight"
        for name, _ in model.named_parameters()
        if name.endswith(".base_layer.weight")
    }
    return model.merge_and_unload(), adapted
