"""`wagle inspect`: what a model is made of and what selections can cover, without its weights.

Left out: memory of activations, which depends on the batch (`wagle plan` has it).
"""

import argparse
import dataclasses

from wagle.cli.output import print_json

HELP = "a model's family, parameters by kind, what selections cover, and memory; from its config"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a model folder, or a model's name on the hub")
    parser.add_argument("--json", action="store_true")


def run(options) -> None:
    from wagle.model.inspection import inspect_model

    inspection = inspect_model(options.model)
    memory = memory_by_stage(inspection.weights)
    if options.json:
        print_json(dataclasses.asdict(inspection) | {"memory_bytes": memory})
    else:
        print("\n".join(_lines(inspection, memory)))


def memory_by_stage(weights: int) -> dict[str, int]:
    """Bytes of a model with so many weights by stage, without activations."""
    from wagle.experiment import gpu_memory
    from wagle.experiment.gpu_memory import BYTES

    stages = {"fine-tuning, fp32": gpu_memory.training_bytes("fp32", masked=False)}
    stages |= {f"gradients, {name}": gpu_memory.gradient_bytes(name) for name in ("fp32", "bf16")}
    stages |= {
        f"unlearning, {policy}": gpu_memory.training_bytes(policy, masked=True) for policy in BYTES
    }
    stages |= {f"evaluation, {name}": BYTES[name] for name in ("fp32", "bf16")}
    return {name: round(width * weights) for name, width in stages.items()}


def _lines(inspection, memory: dict[str, int]) -> list[str]:
    total = inspection.weights
    template = {None: "no tokenizer found", True: "yes", False: "no"}[inspection.chat_template]
    lines = [
        f"model          {inspection.name}",
        f"family         {inspection.family} ({inspection.architecture}), {inspection.dtype}",
        f"weights        {total:,}, tied ones once",
        *(f"tied           {name} is {other}" for name, other in inspection.tied.items()),
        f"chat template  {template}",
        "",
        f"{'kind of parameter':40} {'in figures':12} {'tensors':>8} {'weights':>16} {'share':>7}",
    ]
    lines += [
        f"{kind.role:40} {kind.label:12} {kind.parameters:8,} {kind.weights:16,} "
        f"{kind.weights / total:7.1%}"
        for kind in inspection.kinds
    ]
    targets = ", ".join(inspection.lora_targets) or "all linear layers"
    lines += [
        "",
        "what selections cover",
        "  one ranking of all weights (wagle, snip, ...): all",
        f"  a ranking by output row (wanda, random_rows): {inspection.row_ranked / total:.1%}",
        *(f"    not ranked: {line}" for line in _grouped(inspection.unranked)),
        f"  lora, on {targets} by default: {inspection.lora_covered / total:.1%}",
        f"    target_modules may name: {', '.join(inspection.modules)}",
        "",
        "memory by stage, without activations",
        *(f"  {name:28} {_size(number):>9}" for name, number in memory.items()),
    ]
    return lines


def _size(number: int) -> str:
    """`number` bytes as people read them."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"


def _grouped(names: list[str]) -> list[str]:
    """`names` with a * for the number of a block, each once."""
    short = [".".join("*" if part.isdigit() else part for part in n.split(".")) for n in names]
    return [f"{name} ({short.count(name)})" for name in dict.fromkeys(short)]
