"""What a model is made of, from its config alone: parameters by kind, and what selections cover.

Notable: the model is built on torch's meta device, where tensors have shapes and no values. So
neither weights nor memory are needed. Left out: which experts a data set reaches, and convolutions,
which row-wise scores do not rank.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from wagle.errors import WagleError
from wagle.model import families
from wagle.model.checkpoints import parameter_shapes


@dataclass(frozen=True)
class KindSize:
    """One kind of parameters: its names in long and short, how many there are and their weights."""

    role: str
    label: str
    parameters: int
    weights: int


@dataclass(frozen=True)
class Inspection:
    """A model's make-up.

    family: its `model_type`. architecture: its class in transformers. dtype: of its weights.
    tied: name -> the parameter that it shares its weights with.
    kinds: in the order of Fig. 2. row_ranked: weights that row-wise scores rank.
    unranked: weights of two or more sides that they do not rank.
    lora_targets: modules that LoRA adapts where none are named; none means all linear layers.
    lora_covered: weights of these modules. modules: names that LoRA's target_modules may have.
    chat_template: whether the tokenizer has one; None without a tokenizer.
    """

    name: str
    family: str
    architecture: str
    dtype: str
    weights: int
    tied: dict[str, str]
    kinds: list[KindSize]
    row_ranked: int
    unranked: list[str]
    lora_targets: list[str]
    lora_covered: int
    modules: list[str]
    chat_template: bool | None


def inspect_model(name: str) -> Inspection:
    """Inspect a model folder, or a model of the hub by its name.

    Raises WagleError when there is no config, or none of a causal language model.
    """
    model = _on_meta_device(name)
    shapes = parameter_shapes(model)
    sizes = {parameter: torch.Size(shape).numel() for parameter, shape in shapes.items()}
    ranked = row_ranked(model)
    targets = families.default_lora_targets(shapes)
    linear = linear_modules(model)
    adapted = [module for module in linear if not targets or module.rpartition(".")[2] in targets]
    return Inspection(
        name=name,
        family=model.config.model_type,
        architecture=type(model).__name__,
        dtype=str(model.config.dtype or "not stated").removeprefix("torch."),
        weights=sum(sizes.values()),
        tied=dict(model.all_tied_weights_keys),
        kinds=_kinds(sizes),
        row_ranked=sum(sizes[parameter] for parameter in ranked),
        unranked=[n for n, shape in shapes.items() if len(shape) > 1 and n not in ranked],
        lora_targets=targets,
        lora_covered=sum(sizes[f"{module}.weight"] for module in adapted),
        modules=sorted({module.rpartition(".")[2] for module in linear}),
        chat_template=_has_chat_template(name),
    )


def row_ranked(model) -> list[str]:
    """Names of the weights that row-wise scores rank: all that the model multiplies with, but
    embeddings and the output head.
    """
    head = model.get_output_embeddings()
    unranked = (torch.nn.Embedding, torch.nn.Conv1d, torch.nn.Conv2d)
    outside = {id(m.weight) for m in model.modules() if isinstance(m, unranked) or m is head}
    return [
        name
        for name, p in model.named_parameters()
        if id(p) not in outside and (_is_matrix(name, p) or _are_experts(name, p))
    ]


def _is_matrix(name: str, parameter: torch.Tensor) -> bool:
    return parameter.ndim == 2 and name.endswith(".weight")


def _are_experts(name: str, parameter: torch.Tensor) -> bool:
    return parameter.ndim == 3 and ".experts." in name


def linear_modules(model) -> list[str]:
    """Dotted names of the modules that LoRA can adapt, without the output head."""
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head
    ]


def _on_meta_device(name: str):
    from transformers import AutoConfig, AutoModelForCausalLM

    is_folder = Path(name).is_dir()
    if not is_folder and (name.startswith(("/", ".", "~")) or name.count("/") > 1):
        raise WagleError(f"{name} is not a folder", "a model folder, or a model's name on the hub")
    try:
        config = AutoConfig.from_pretrained(name, local_files_only=is_folder)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise WagleError(
            f"{name} could not be read: {str(error)[:300]}",
            "a folder with config.json, or the hub's name, of a causal language model",
            "check the name, your access to it and the network",
        ) from None


def _has_chat_template(name: str) -> bool | None:
    from transformers import AutoTokenizer

    if Path(name).is_dir() and not list(Path(name).glob("tokenizer*")):
        return None  # transformers would make an empty tokenizer of some families
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=Path(name).is_dir())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return tokenizer.chat_template is not None


def _kinds(sizes: dict[str, int]) -> list[KindSize]:
    result = []
    for kind in (*families.KINDS, families.OTHER):
        own = [size for name, size in sizes.items() if families.kind_of(name) is kind]
        if own:
            result.append(KindSize(kind.role, kind.label, len(own), sum(own)))
    return result
