"""What an experiment will cost: FLOPs, memory, disk and time, from the model's shape alone.

A forward pass takes 2 FLOPs per weight and token, a backward pass twice that. GPU memory is that of
gpu_memory.py. Time is the longer of FLOPs over an achieved fraction of the peak, and bytes over
bandwidth. The optimizer's bytes come after the passes, so they take their own time, and so do
moments that are streamed from host memory. Each job adds the time of its start.

Notable: every assumption about rows and tokens is printed, and can be set. Standard library only.
Left out: attention over the context (under a tenth at these lengths), compilation, queues, and
checkpoints over slow networks.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from wagle.experiment import gpu_memory, grid, templates
from wagle.experiment.cells import Cell
from wagle.experiment.config import training_gpus
from wagle.experiment.draws import ROW_STATISTICS
from wagle.experiment.gpu_memory import BYTES, MOMENTS, STEP_TRAFFIC, Passes
from wagle.experiment.model_shape import Shape, shape
from wagle.experiment.plan_assumptions import (
    ASSUMED_ROWS,
    GPUS,
    HOST_BUS,
    START_SECONDS,
    TEXTS,
    TOFU_ROWS,
    USABLE,
    Gpu,
)
from wagle.experiment.plugins import (
    curvature_module,
    has_reference_model,
    objective_module,
    objective_needs,
)
from wagle.experiment.settings import settings_of
from wagle.experiment.splits import split_entries


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The jobs of one rule: how many there are, and what each of them needs.

    name               the rule, and for unlearning the precision
    n_jobs             number of jobs
    flops              floating-point operations
    traffic            bytes through the GPU's memory that FLOPs do not hide: decoding reads all
                       weights for each token
    optimizer_traffic  bytes that the optimizer moves on each GPU, after the passes
    host_traffic       bytes between GPU and host memory
    gpu_memory         peak bytes on each GPU; 0 for a job on the CPU
    host_memory, disk  peak bytes in host memory; bytes written
    gpus               GPUs of one job
    """

    name: str
    n_jobs: int
    host_memory: float
    disk: float
    flops: float = 0
    traffic: float = 0
    optimizer_traffic: float = 0
    host_traffic: float = 0
    gpu_memory: float = 0
    gpus: int = 1

    def seconds(self, gpu: Gpu, fraction: float, disk_speed: float) -> float:
        """Time of one job at `fraction` of the GPU's peak and `disk_speed` bytes a second."""
        compute = self.flops / (gpu.flops * fraction * self.gpus)
        bandwidth = gpu.bandwidth * fraction
        passes = max(compute, self.traffic / bandwidth)
        optimizer = self.optimizer_traffic / bandwidth + self.host_traffic / (HOST_BUS * fraction)
        return START_SECONDS + passes + optimizer + self.disk / disk_speed

    def fits(self, gpu: Gpu) -> bool:
        """Whether one job's share of a GPU's memory is usable."""
        return self.gpu_memory <= USABLE * gpu.memory


class RowCount(NamedTuple):
    """Rows of a split, and whether that number is known or assumed."""

    n: int
    known: bool


def rows(config: dict, role: str) -> RowCount:
    """Rows of a split: its `rows` or `spread`, the synthetic size, or TOFU's published size."""
    if role not in config["data"]["splits"]:
        return RowCount(0, True)
    total, known = 0, True
    synthetic = config["data"].get("synthetic", {})
    for entry in split_entries(config, role):
        name = str(entry.options.get("name", role)).rpartition("/")[2]
        if entry.source == "synthetic" and "authors_total" in synthetic:
            forget = synthetic["authors_forget"]
            total += 6 * (forget if "forget" in role else synthetic["authors_total"] - forget)
        elif "rows" in entry.options:
            first, end = entry.options["rows"]
            total += end - first
        elif "spread" in entry.options:
            total += entry.options["spread"]
        elif name in TOFU_ROWS:
            total += TOFU_ROWS[name]
        else:
            total, known = total + ASSUMED_ROWS, False
    return RowCount(total, known)


def stages(config: dict, tokens: int) -> list[Stage]:
    """The experiment's stages, in order. `tokens` is the mean length of a text."""
    model = shape(config)
    return [
        *_finetuning(config, model, tokens),
        _gradients(config, model, tokens),
        *_second_moments(config, model, tokens),
        *_selection(config, model),
        *_unlearning(config, model, tokens),
        _evaluation(config, model, tokens),
    ]


def _all_runs(config: dict) -> list[Cell]:
    """Every evaluated model: the cells, and the tuning's trials."""
    return grid.all_cells(config) + grid.all_trials(config)


def _finetuning(config: dict, model: Shape, tokens: int) -> list[Stage]:
    models, n = config["models"], model.parameters
    n_jobs = sum(
        models.get(name, {}).get("source") == "finetune" for name in ("target", "retrained")
    )
    if not n_jobs:
        return []
    options = models["finetune"]
    roles = models["target"].get("roles", ["forget", "retain"])
    n_rows = sum(rows(config, role).n for role in roles)
    trained_tokens = n_rows * options["epochs"] * tokens
    gpus = 1 if options.get("adapters") else max(1, training_gpus(config))
    policy = options.get("precision", "fp32")
    checkpointed = options.get("activation_checkpointing", False)
    batch = options["batch_size"] * tokens
    stage = Stage(
        name="finetune",
        n_jobs=n_jobs,
        flops=(8 if checkpointed else 6) * n * trained_tokens,
        **_optimizer_bytes(model, options, policy, trained_tokens / batch, gpus),
        gpu_memory=_training_memory(model, options, policy, batch, gpus, masked=False),
        host_memory=2 * BYTES[policy] * n + _offloaded(model, options),
        disk=BYTES[policy] * n,
        gpus=gpus,
    )
    return [stage]


def _training_memory(
    model: Shape, options: dict, policy: str, batch: float, gpus: int, *, masked: bool
) -> float:
    """GPU memory of a training job. `options` is its config block, `batch` the tokens of a step."""
    passes = Passes(
        model=model,
        tokens=min(options["token_budget"], batch / gpus),
        precision="fp32" if policy == "fp32" else "bf16",
        autocast=options["autocast"] == "bf16",
        checkpointed=options.get("activation_checkpointing", False),
    )
    if options.get("adapters"):
        return gpu_memory.adapters(passes)
    micro_batches = math.ceil(batch / gpus / options["token_budget"])
    return gpu_memory.training(
        passes,
        policy,
        masked=masked,
        offloaded=options.get("offload_moments", False),
        micro_batches=micro_batches,
        gpus=gpus,
    )


def _offloaded(model: Shape, options: dict) -> float:
    """Bytes of the moments in host memory."""
    return MOMENTS["fp32"] * model.parameters if options.get("offload_moments") else 0


def _optimizer_bytes(
    model: Shape, options: dict, policy: str, steps: float, gpus: int
) -> dict[str, float]:
    """What the optimizer moves in `steps` steps, on each GPU: fields of Stage."""
    return {
        "optimizer_traffic": steps * STEP_TRAFFIC[policy] * model.parameters / gpus,
        # there and back
        "host_traffic": steps * 2 * _offloaded(model, options) / gpus,
    }


def _gradients(config: dict, model: Shape, tokens: int) -> Stage:
    attribution, n = config["attribution"], model.parameters
    forget_tokens = rows(config, "forget").n * tokens
    folders = {
        grid.draw_of(config, cell).folder(need)
        for cell in _all_runs(config)
        if cell.has_mask
        for need in ("forget", "retain")
        if need in grid.needs(config, cell.selection)
    }
    checkpointed = attribution.get("activation_checkpointing", False)
    precision = attribution["precision"]
    passes = Passes(
        model=model,
        tokens=min(attribution["token_budget"], forget_tokens),
        precision=precision,
        checkpointed=checkpointed,
    )
    return Stage(
        name="gradients",
        n_jobs=len(folders),
        flops=(8 if checkpointed else 6) * n * forget_tokens,
        gpu_memory=gpu_memory.attribution(passes),
        host_memory=n * (BYTES[precision] + 4),
        disk=4 * n,
    )


def _second_moments(config: dict, model: Shape, tokens: int) -> list[Stage]:
    """Squared gradients of single rows, and curvatures, where scores read them.

    A draw of Hutchinson's estimate differentiates twice: it counts as two passes, and holds two
    gradients. Other estimators are taken as one pass a draw.
    """
    n, precision = model.parameters, config["attribution"]["precision"]
    forget_tokens = rows(config, "forget").n * tokens
    squares, curvatures = set(), {}
    for cell in _all_runs(config):
        if not cell.has_mask:
            continue
        draw = grid.draw_of(config, cell)
        for need, folder in grid.input_folders(config, cell.selection, draw).items():
            if need.endswith(ROW_STATISTICS):
                squares.add(folder)
            elif need == "curvature":
                curvatures[folder] = grid.estimator(config, cell.selection)
    result = []
    row = n * (BYTES[precision] + 12)  # the model, a gradient, and two accumulators
    if squares:
        result.append(
            Stage(
                name="row gradients",
                n_jobs=len(squares),
                flops=6 * n * forget_tokens,
                gpu_memory=row + Passes(model=model, tokens=tokens, precision=precision).stored,
                host_memory=row,
                disk=8 * n,
            )
        )
    if curvatures:
        known = config.get("curvatures", {})
        passes = [_passes(name, known.get(name, {})) for name in curvatures.values()]
        batch = min(config["attribution"]["token_budget"], forget_tokens)
        result.append(
            Stage(
                name="curvature",
                n_jobs=len(curvatures),
                flops=6 * n * forget_tokens * sum(passes) / len(passes),
                gpu_memory=row + 2 * Passes(model=model, tokens=batch, precision=precision).stored,
                host_memory=row,
                disk=4 * n,
            )
        )
    return result


def _passes(name: str, options: dict) -> int:
    """Passes over the retain rows of a curvature estimate."""
    twice = curvature_module(name, options).endswith(("hutchinson", "rayleigh"))
    return (2 if twice else 1) * options.get("options", {}).get("draws", 1)


def _selection(config: dict, model: Shape) -> list[Stage]:
    """Scores and masks: a score reads the weights and two gradients, a mask its score thrice."""
    n = model.parameters
    masked = [cell for cell in _all_runs(config) if cell.has_mask]
    masks = {grid.mask_folder(config, cell) for cell in masked}
    scores = {(cell.selection, cell.gamma, grid.draw_of(config, cell).name) for cell in masked}
    return [
        Stage(name="scores", n_jobs=len(scores), host_memory=2e9, disk=16 * n),
        Stage(name="masks", n_jobs=len(masks), host_memory=2e9, disk=12 * n + n / 8),
    ]


def _unlearning(config: dict, model: Shape, tokens: int) -> list[Stage]:
    """One stage for each precision policy."""
    unlearning, n = config["unlearning"], model.parameters
    forget, gpus = rows(config, "forget").n, max(1, training_gpus(config))
    checkpointed = unlearning.get("activation_checkpointing", False)
    trainings: dict[str, list[dict]] = {}  # of each cell, by precision
    further: dict[str, int] = {}  # most copies of the weights that an objective keeps beside
    for cell in _all_runs(config):
        if cell.seed is not None:
            training = settings_of(config, cell.method, cell.selection).training
            policy = training["precision"]
            trainings.setdefault(policy, []).append(training)
            copies = _copies_of_weights(config, cell.method)
            further[policy] = max(further.get(policy, 0), copies)
    result = []
    for policy, chosen in sorted(trainings.items()):
        counts = [_steps(training, forget) for training in chosen]
        batch = 2 * max(training["batch_size"] for training in chosen) * tokens
        steps = sum(counts) / len(counts)
        stage = Stage(
            name=f"unlearn {policy}",
            n_jobs=len(counts),
            flops=(8 if checkpointed else 6) * n * batch * steps,
            **_optimizer_bytes(model, unlearning, policy, steps, gpus),
            gpu_memory=_training_memory(model, unlearning, policy, batch, gpus, masked=True)
            + further[policy] * BYTES[policy] * n / gpus,
            # one model, and a mask for each process
            host_memory=n * (BYTES[policy] + gpus) + _offloaded(model, unlearning),
            disk=n * BYTES[policy],
            gpus=gpus,
        )
        result.append(stage)
    return result


def _copies_of_weights(config: dict, method: str) -> int:
    """Copies that a method's objective keeps: the model before unlearning, the weights for SAM."""
    needs = objective_needs(objective_module(method, config["methods"][method]))
    return has_reference_model(needs) + ("second_pass" in needs)


def _steps(training: dict, forget: int) -> int:
    return training.get("steps") or training["epochs"] * math.ceil(forget / training["batch_size"])


def _evaluation(config: dict, model: Shape, tokens: int) -> Stage:
    options, n = config["evaluation"], model.parameters
    sizes = {
        role: rows(config, role).n
        for role in config["data"]["splits"]
        if role not in ("forget", "retain", "refusals")
    }
    texts = sum(TEXTS.get(role, 1) * size for role, size in sizes.items())
    prompts = sum(
        size * (2 if TEXTS.get(role) == 13 else 1)
        for role, size in sizes.items()
        if role in TEXTS or config["task"] != "tofu"
    )
    scoring, generation = options.get("scoring", {}), options.get("generation", {})
    new_tokens = generation.get("max_new_tokens", 0)
    decoding_budget = generation.get("token_budget", 0)
    precision = scoring.get("precision", "bf16")
    width = BYTES[precision]
    cache = 2 * model.layers * model.kv * width * decoding_budget
    memory = gpu_memory.scoring(model, scoring.get("token_budget", tokens), precision)
    batches = 0
    if new_tokens:
        batches = math.ceil(prompts * (tokens + new_tokens) / max(1, decoding_budget))
        prompt = tokens / (tokens + new_tokens)
        memory = max(memory, gpu_memory.generation(model, decoding_budget, prompt, precision))
    return Stage(
        name="evaluate",
        n_jobs=len(_all_runs(config)) * len(templates.folders(config)),
        flops=2 * n * (texts * tokens + prompts * (tokens + new_tokens)),
        traffic=batches * new_tokens * (width * n + cache),
        gpu_memory=memory,
        host_memory=n * width,
        disk=n * width,
    )


def as_text(config: dict, name: str, *, tokens: int, fraction: float, disk_speed: float) -> str:
    """The plan as lines for a terminal.

    `tokens` is the mean length of a text, `fraction` the achieved share of a GPU's peak,
    `disk_speed` bytes a second.
    """
    n, schedule = shape(config).parameters, stages(config, tokens)
    cells, splits = grid.all_cells(config), config["data"]["splits"]
    trials = len(grid.all_trials(config))
    unknown = [role for role in splits if role != "refusals" and not rows(config, role).known]
    assumed = [
        f"{tokens} tokens a text",
        f"{fraction:.0%} of peak",
        f"a disk of {disk_speed / 1e9:.1f} GB/s",
    ]
    assumed += [f"{ASSUMED_ROWS} rows each in {', '.join(unknown)}"] if unknown else []
    lines = [
        f"{name}: {n:,} weights, {len(cells)} cells, {len(config['seeds'])} seeds"
        + (f", {trials} tuning trials" if trials else ""),
        f"assumed: {', '.join(assumed)}",
        f"{'stage':24s} {'jobs':>5s} {'TFLOP':>10s} {'GPU GB':>7s} {'host GB':>8s} {'disk GB':>8s}"
        "  fits",
        *map(_stage_line, schedule),
        _disk_line(schedule, n),
    ]
    for gpu in GPUS:
        if not all(stage.fits(gpu) for stage in schedule):
            lines.append(f"{gpu.name}: a stage does not fit")
            continue
        needed = max(stage.gpus for stage in schedule)
        hours = {
            count: makespan(schedule, gpu, count, fraction, disk_speed) / 3600
            for count in (1, 4, 16)
            if count >= needed
        }
        times = ", ".join(f"{value:.1f} h on {count}" for count, value in hours.items())
        lines.append(f"{gpu.name}: {times}")
    return "\n".join(lines)


def _stage_line(stage: Stage) -> str:
    names = ", ".join(gpu.name for gpu in GPUS if stage.fits(gpu)) or "no GPU listed"
    gpus = f"{stage.gpus} x {names}" if stage.gpus > 1 else names
    return (
        f"{stage.name:24s} {stage.n_jobs:5d} {stage.flops / 1e12:10.1f}"
        f" {stage.gpu_memory / 1e9:7.1f} {stage.host_memory / 1e9:8.1f} {stage.disk / 1e9:8.2f}"
        f"  {gpus if stage.gpu_memory else 'CPU'}"
    )


def _disk_line(schedule: list[Stage], n: int) -> str:
    """What stays on the disk. Gradients and scores are fp32, a mask is one bit a weight."""
    by_rule = {stage.name.partition(" ")[0]: stage for stage in schedule}
    permanent = (by_rule["gradients"].n_jobs + by_rule["scores"].n_jobs) * 4 * n
    permanent += by_rule["masks"].n_jobs * n / 8
    further = (by_rule[name] for name in ("row", "curvature") if name in by_rule)
    permanent += sum(stage.n_jobs * stage.disk for stage in further)
    return (
        f"disk: {n / 8e9:.2f} GB for a mask;"
        f" a cell's checkpoint {by_rule['unlearn'].disk / 1e9:.2f} GB until it is evaluated;"
        f" gradients, scores and masks together {permanent / 1e9:.0f} GB"
    )


def makespan(
    schedule: list[Stage], gpu: Gpu, count: int, fraction: float, disk_speed: float
) -> float:
    """Seconds on `count` GPUs: one stage after the other, the jobs of a stage side by side."""
    return sum(
        math.ceil(stage.n_jobs / (count // stage.gpus)) * stage.seconds(gpu, fraction, disk_speed)
        for stage in schedule
    )
