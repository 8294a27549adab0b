"""Training: this loop against the official recipe's shape and against transformers.Trainer.

NPO on TOFU rows, all in one run:

official   batch 1, 4 accumulation steps, every text padded to 512, a second model as NPO's
           reference
trainer    transformers.Trainer, batch 4, padded to the longest of a batch, the reference's losses
           passed to it
ours       wagle.training.loop.fit, the reference's losses computed once (that pass is timed)

All three take the same steps with the same rows, learning rates, clipping and AdamW, in fp32. A
sample is one forget and one retain row. Prints samples a second, the ratios, memory, and the
largest difference between the loss curves.

    results=results/tofu-smollm2-cpu
    python benchmarks/bench_training.py --model $results/models/target/checkpoint --data DATA
"""

import argparse
import gzip
import json
import os
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from bench import child, peak_above, report

from wagle.data.batching import collate
from wagle.data.encoding import encode_rows
from wagle.model import checkpoints
from wagle.model.losses import RowLoss, answer_loss
from wagle.objectives import npo
from wagle.training.data import TrainingData
from wagle.training.loop import fit
from wagle.training.objective import Objective
from wagle.training.options import TrainingOptions
from wagle.training.reference import Reference, reference_losses
from wagle.training.schedule import learning_rate, make_steps

TEMPLATE, PAD_TO, BATCH = "Question: {question}\nAnswer: {answer}", 512, 4
LR, DECAY, CLIP, SEED = 1e-5, 0.1, 1.0, 0


def rows_of(folder: str, name: str, limit: int) -> list[dict]:
    with gzip.open(Path(folder) / "tofu" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line, _ in zip(file, range(limit), strict=False)]


def padded_losses(model, rows, pad_id: int, width: int) -> RowLoss:
    """Answer losses as usual code computes them, from the logits of every padded position."""
    ids, attention, span, _ = collate(rows, pad_id, model.device)
    more = (0, max(0, width - ids.shape[1]))
    ids, attention, span = (
        torch.nn.functional.pad(x, more, value=v)
        for x, v in ((ids, pad_id), (attention, 0), (span, False))
    )
    logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits[:, :-1].float()
    labels = ids[:, 1:].masked_fill(~span[:, 1:], -100)
    token = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), reduction="none"
    ).view(labels.shape)
    count = span[:, 1:].sum(1)
    return RowLoss(token.sum(1) / count, token.sum(1), count)


def npo_terms(forget: RowLoss, retain: RowLoss, reference: RowLoss):
    """NPO's terms of these rows."""
    return npo.loss(SimpleNamespace(**forget._asdict(), reference=reference), retain)


def ours(model, tokenizer, forget, retain, steps):
    """Losses of each step."""
    pad, used = tokenizer.pad_token_id, sorted({i for step in steps for i in step.forget})
    known = reference_losses(model, [forget[i] for i in used], pad, 2048)
    reference = RowLoss(
        *(
            torch.zeros(len(forget)).index_copy_(0, torch.tensor(used), column.float())
            for column in known
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        options = TrainingOptions(
            lr=LR,
            weight_decay=DECAY,
            batch_size=BATCH,
            warmup=0.0,
            token_budget=2048,
            seed=SEED,
            steps=len(steps),
            clip=CLIP,
        )
        data = TrainingData(forget, retain, pad)
        fit(model, data, Objective(npo.loss), options, reference=Reference(reference), log=log)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line["forget"] + line["retain"] for line in lines]


def official(model, tokenizer, forget, retain, steps):
    import copy

    second, pad, result = copy.deepcopy(model), tokenizer.pad_token_id, []
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=DECAY)
    model.train()
    for number, step in enumerate(steps):
        result.append(0.0)
        for i, j in zip(step.forget, step.retain, strict=True):
            with torch.no_grad():
                known = padded_losses(second, [forget[i]], pad, PAD_TO)
            losses = [padded_losses(model, [row], pad, PAD_TO) for row in (forget[i], retain[j])]
            loss = sum(term.sum() for term in npo_terms(*losses, known)) / len(step.forget)
            loss.backward()
            result[-1] += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.param_groups[0]["lr"] = learning_rate(number, len(steps), LR, 0.0)
        optimizer.step()
        optimizer.zero_grad()
    return result


def trainer(model, tokenizer, forget, retain, steps):
    from transformers import Trainer, TrainingArguments, get_linear_schedule_with_warmup

    pad, result = tokenizer.pad_token_id, []
    used = sorted({i for step in steps for i in step.forget})
    with torch.no_grad():
        known = {
            i: RowLoss(*(x[0] for x in padded_losses(model, [forget[i]], pad, 0))) for i in used
        }
    pairs = [pair for step in steps for pair in zip(step.forget, step.retain, strict=True)]

    class Plain(Trainer):
        def _get_train_sampler(self, *_):
            return torch.utils.data.SequentialSampler(pairs)

        def compute_loss(self, model, inputs, **_):
            sides = [
                [forget[i] for i, _ in inputs["pairs"]],
                [retain[j] for _, j in inputs["pairs"]],
            ]
            losses = [padded_losses(model, rows, pad, 0) for rows in sides]
            reference = RowLoss(
                *(torch.stack(x) for x in zip(*(known[i] for i, _ in inputs["pairs"]), strict=True))
            )
            loss = sum(term.mean() for term in npo_terms(*losses, reference))
            result.append(float(loss.detach()))
            return loss

    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=DECAY)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, len(steps))
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=BATCH,
            max_steps=len(steps),
            max_grad_norm=CLIP,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            remove_unused_columns=False,
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        Plain(
            model,
            arguments,
            train_dataset=pairs,
            data_collator=lambda batch: {"pairs": batch},
            optimizers=(optimizer, schedule),
        ).train()
    return result


def measure(options) -> dict:
    torch.set_num_threads(options.threads)
    model, tokenizer = checkpoints.load(options.model), checkpoints.load_tokenizer(options.model)
    forget, retain = (
        encode_rows(
            tokenizer, rows_of(options.data, name, 40), template=TEMPLATE, max_length=PAD_TO
        )
        for name in ("forget01", "retain99")
    )
    if options.shortest:  # a small run
        forget, retain = (sorted(rows, key=len)[:8] for rows in (forget, retain))
    steps = make_steps(len(forget), len(retain), batch_size=BATCH, seed=SEED, steps=options.steps)
    answer_loss(model, forget[:1], tokenizer.pad_token_id)  # the first pass allocates
    with peak_above() as peak:
        started, busy = time.perf_counter(), time.process_time()
        losses = {"ours": ours, "official": official, "trainer": trainer}[options.path](
            model, tokenizer, forget, retain, steps
        )
        seconds, cpu = time.perf_counter() - started, time.process_time() - busy
    length = sum(
        len(rows[i])
        for step in steps
        for rows, ids in ((forget, step.forget), (retain, step.retain))
        for i in ids
    )
    return {
        "losses": losses,
        "seconds": seconds,
        "cpu": cpu,
        "peak": peak.bytes,
        "mean_length": length / (2 * BATCH * len(steps)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, help="folder with tofu/")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--by",
        choices=("seconds", "cpu"),
        default="seconds",
        help="cpu: processor time, on a machine that others use",
    )
    parser.add_argument("--shortest", action="store_true", help="the shortest rows only")
    parser.add_argument(
        "--path",
        choices=("ours", "official", "trainer"),
        help="one measurement (used by the run itself)",
    )
    options = parser.parse_args()
    if options.path:
        print(json.dumps(measure(options)))
        return
    shared = [
        "--model",
        options.model,
        "--data",
        options.data,
        "--steps",
        str(options.steps),
        "--threads",
        str(options.threads),
    ]
    shared += ["--shortest"] if options.shortest else []
    by = options.by
    # ours is run before and after the others, for other work on the machine; the slower counts
    runs = [
        (path, child(__file__, *shared, "--path", path))
        for path in ("ours", "trainer", "official", "trainer", "ours")
    ]
    results = {
        path: max((r for p, r in runs if p == path), key=lambda r: r[by])
        for path in ("ours", "official")
    }
    results["trainer"] = min((r for p, r in runs if p == "trainer"), key=lambda r: r[by])
    for path, run in results.items():
        rate = BATCH * options.steps / run[by]
        print(
            f"{path:9s} {rate:.3f} samples/s, {run['peak'] / 1e6:.0f} MB above the loaded model,"
            f" losses {run['losses']}"
        )
    print(f"mean length {results['ours']['mean_length']:.0f} tokens")
    limit = "matrix products of the tokens that are there"
    for path, least in (("official", 8), ("trainer", 1)):
        ratio = results[path][by] / results["ours"][by]
        report(
            f"training: samples/s against {path}",
            ratio,
            "x",
            f"at least {least}",
            ratio >= least,
            limit,
        )
        worst = max(
            abs(a - b)
            for a, b in zip(results[path]["losses"], results["ours"]["losses"], strict=True)
        )
        report(
            f"training: loss curve against {path}",
            worst,
            "nats",
            "at most 1e-4",
            worst <= 1e-4,
            "fp32 rounding",
        )


if __name__ == "__main__":
    main()
