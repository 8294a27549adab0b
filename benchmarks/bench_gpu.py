"""At LLaMA-2-7B's size on one GPU: selection and masks, gradients, and 20 training steps.

The model is randomly initialised. Matrix throughput and memory bandwidth are measured first.
Prints seconds, peak memory, and the achieved fraction of both. With --size small everything runs in
a minute on a CPU: the same code, but no statement about a GPU.

    python benchmarks/bench_gpu.py                 # 141 GB: fp32 master weights, bf16 products
    python benchmarks/bench_gpu.py --precision bf16-kahan --checkpointing      # 80 GB
    python benchmarks/bench_gpu.py --size small
"""

import argparse
import time

import torch
from bench import report

from wagle.attribution import topk
from wagle.attribution.gradients import accumulate
from wagle.data.prompts import Encoded
from wagle.experiment import plan
from wagle.model import checkpoints
from wagle.objectives import graddiff
from wagle.training import optimizers
from wagle.training.loop import TrainingData, fit
from wagle.training.objective import Objective
from wagle.training.options import TrainingOptions

SIZES = {
    "7b": plan.SHAPES["meta-llama/Llama-2-7b-hf"],
    "small": plan.Shape(256, 704, 4, 8, 8, 4000, False),
}
RATIOS = [0.1, 0.2, 0.4, 0.6, 0.8, 0.85, 0.9, 0.95, 0.99, 1.0]
LENGTH, BATCH = 75, 4


class Clock:
    """Seconds and peak bytes on the device of a block."""

    def __init__(self, device):
        self.cuda = device.type == "cuda"

    def __enter__(self):
        if self.cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        self.started = time.perf_counter()
        return self

    def __exit__(self, *_):
        if self.cuda:
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self.started
        self.peak = torch.cuda.max_memory_allocated() if self.cuda else 0


def limits(device) -> tuple[float, float]:
    """(FLOPs a second of a bf16 product, bytes a second of a copy), the best of five."""
    cuda = device.type == "cuda"
    side, n = (8192, 1 << 30) if cuda else (1024, 1 << 26)
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16 if cuda else torch.float32)
    source = torch.ones(n, dtype=torch.uint8, device=device)
    target, seconds = torch.empty_like(source), [[], []]
    for _ in range(5):
        for kept, work in zip(seconds, (lambda: a @ a, lambda: target.copy_(source)), strict=True):
            with Clock(device) as clock:
                work()
            kept.append(clock.seconds)
    return 2 * side**3 / min(seconds[0]), 2 * n / min(seconds[1])


def build(shape: plan.Shape, dtype, device):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        vocab_size=shape.vocabulary,
    )
    torch.manual_seed(0)
    with torch.device(device):
        return LlamaForCausalLM(config).to(dtype).eval()


def rows(count: int, vocabulary: int) -> list[Encoded]:
    """Random texts of LENGTH tokens whose last two thirds carry loss."""
    draws = torch.randint(
        3, vocabulary, (count, LENGTH), generator=torch.Generator().manual_seed(1)
    ).tolist()
    return [Encoded(tuple(ids), LENGTH // 3, False) for ids in draws]


def select(shape: plan.Shape, device, dtype) -> tuple[Clock, int]:
    """Thresholds and packed masks of ten ratios over random scores of the model's shapes."""
    with torch.device("meta"):
        sizes = {
            name: p.shape for name, p in build(shape, torch.float32, "meta").named_parameters()
        }
    generator = torch.Generator(device).manual_seed(0)
    scores = {
        name: torch.randn(size, generator=generator, device=device, dtype=dtype)
        for name, size in sizes.items()
    }
    n = sum(x.numel() for x in scores.values())
    ks = [topk.budget(ratio, n) for ratio in RATIOS]
    with Clock(device) as clock:
        counts = [0] * len(ks)
        for _, parts in topk.packed(scores.items, topk.thresholds(scores.items, ks)):
            counts = [known + part.selected for known, part in zip(counts, parts, strict=True)]
    assert counts == ks
    return clock, n


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=tuple(SIZES), default="7b")
    parser.add_argument("--precision", choices=optimizers.POLICIES, default="fp32")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--rows", type=int, default=400, help="for the gradient")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--token-budget", type=int, default=4096)
    options = parser.parse_args()
    device, shape = checkpoints.device(), SIZES[options.size]
    rate, bandwidth = limits(device)
    label = f"{device.type} {options.size}"
    print(
        f"{label}: {shape.parameters:,} weights, products {rate / 1e12:.3g} TFLOP/s,"
        f" copies {bandwidth / 1e9:.0f} GB/s"
    )
    for dtype in (torch.float32, torch.bfloat16):
        clock, n = select(shape, device, dtype)
        passes = 3 if dtype == torch.float32 else 2
        share = (passes * dtype.itemsize + len(RATIOS) / 8) * n / clock.seconds / bandwidth
        print(
            f"selection, {dtype}: {clock.seconds:.2f} s,"
            f" peak {clock.peak / 1e9:.1f} GB with the scores"
        )
        report(
            f"{label}: selection {str(dtype)[6:]}, ten ratios",
            share,
            "of the copy bandwidth",
            "stated",
            True,
            "counting and packing",
        )
    kept = (
        torch.float32
        if optimizers.weight_precision(options.precision) == "fp32"
        else torch.bfloat16
    )
    model = build(shape, torch.bfloat16 if device.type == "cuda" else torch.float32, device)
    forget = rows(options.rows, shape.vocabulary)
    with Clock(device) as clock:
        accumulate(
            model, forget, 0, options.token_budget, activation_checkpointing=options.checkpointing
        )
    work = (8 if options.checkpointing else 6) * shape.parameters * options.rows * LENGTH
    print(
        f"gradients of {options.rows} rows: {clock.seconds:.1f} s, peak {clock.peak / 1e9:.1f} GB"
    )
    report(
        f"{label}: gradients",
        work / clock.seconds / rate,
        "of the product rate",
        "stated",
        True,
        "matrix products",
    )
    del model
    model = build(shape, kept, device)
    draw = torch.Generator(device).manual_seed(2)
    chosen = {
        name: torch.rand(p.shape, generator=draw, device=device) < 0.95
        for name, p in model.named_parameters()
    }
    training = TrainingOptions(
        lr=1e-5,
        weight_decay=0.1,
        batch_size=BATCH,
        warmup=0.1,
        token_budget=options.token_budget,
        seed=0,
        steps=options.steps,
        precision=options.precision,
        autocast="bf16" if device.type == "cuda" else "none",
        activation_checkpointing=options.checkpointing,
    )
    data = TrainingData(forget, forget, pad_id=0)
    with Clock(device) as clock:
        fit(model, data, Objective(graddiff.loss), training, masks=chosen)
    work = (
        (8 if options.checkpointing else 6) * shape.parameters * options.steps * 2 * BATCH * LENGTH
    )
    print(
        f"{options.steps} steps, {options.precision}: {clock.seconds:.1f} s,"
        f" peak {clock.peak / 1e9:.1f} GB"
    )
    report(
        f"{label}: training, {options.precision}",
        work / clock.seconds / rate,
        "of the product rate",
        "stated",
        True,
        "matrix products, and the optimizer's bytes at batches this small",
    )


if __name__ == "__main__":
    main()
