"""Each stage on a pretended GPU, printed as JSON: its name -> the host's waits by place.

A stage that mixes devices, or ends with other values than on the CPU, fails.
"""

import copy
import dataclasses
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from conftest import SIZE, TEMPLATE
from pretended_gpu import OnGpu, attention, pretended_gpu

from wagle.attribution.gradients import accumulate
from wagle.attribution.input_norms import feature_norms
from wagle.data import synthetic
from wagle.data.encoding import encode_rows
from wagle.evaluation import generation, scoring
from wagle.model import checkpoints
from wagle.model.adapters import add_adapters
from wagle.objectives import npo
from wagle.training.data import TrainingData
from wagle.training.loop import fit
from wagle.training.objective import load_objective
from wagle.training.optimizers import POLICIES, weight_precision
from wagle.training.options import TrainingOptions
from wagle.training.reference import Reference, reference_losses
from wagle.training.resume import ResumeFolder

ROLES = ("forget", "retain")
ROWS = {role: synthetic.split(role, 6, 2, 0) for role in ROLES}
CORPUS = [f"{row['question']} {row['answer']}" for role in ROLES for row in ROWS[role]]
MODEL, TOKENIZER = checkpoints.scratch(SIZE, CORPUS, seed=0)
PAD = TOKENIZER.pad_token_id
ENCODED = {
    role: encode_rows(TOKENIZER, ROWS[role], template=TEMPLATE, max_length=128) for role in ROLES
}
OPTIONS = TrainingOptions(
    lr=1e-3, weight_decay=0.1, batch_size=3, warmup=0.1, token_budget=4000, seed=0, steps=2
)
LORA = {"r": 2, "alpha": 4, "dropout": 0.0, "target_modules": ["q_proj", "v_proj"]}


def model_in(precision: str, device: str):
    model = copy.deepcopy(MODEL).to(checkpoints.DTYPES[precision]).eval()
    return model.to(torch.device(device))


def unlearning(device: str, policy: str, *, lora: bool = False, **changes) -> list[torch.Tensor]:
    """Two steps of NPO under a mask, or with adapters."""
    model = model_in(weight_precision(policy), device)
    masks = {n: torch.arange(p.numel()).view(p.shape) % 3 > 0 for n, p in model.named_parameters()}
    if lora:
        model, masks = add_adapters(model, seed=0, **LORA), None
    data = TrainingData(ENCODED["forget"], ENCODED["retain"], PAD)
    reference = Reference(reference_losses(model, data.forget, PAD, 4000))
    objective = load_objective(npo.__name__, {"beta": 0.1, "size": "mean", "retain_weight": 1.0})
    options = dataclasses.replace(OPTIONS, precision=policy, **changes)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):  # the second run has nothing left to do but to load the state
            resume = ResumeFolder(Path(folder), "me", interval=-1.0)
            fit(model, data, objective, options, masks=masks, reference=reference, resume=resume)
    result = {name: p.detach().cpu() for name, p in model.named_parameters()}
    for name, mask in (masks or {}).items():
        start = dict(MODEL.named_parameters())[name].to(result[name].dtype)
        assert result[name][~mask].equal(start[~mask]), name
    return list(result.values())


def gradients(device: str) -> list[torch.Tensor]:
    return list(accumulate(model_in("fp32", device), ENCODED["forget"], PAD, 400).by_name.values())


def norms(device: str) -> list[torch.Tensor]:
    model = model_in("fp32", device)
    return list(feature_norms(model, ENCODED["forget"], PAD, 400).by_name.values())


def scores(device: str) -> list[torch.Tensor]:
    logs = scoring.token_scores(model_in("fp32", device), ENCODED["forget"], PAD, 400)
    return [torch.from_numpy(log["log_prob"]) for log in logs]


def answers(device: str) -> list[str]:
    questions = [row["question"] for row in ROWS["forget"][:4]]
    options = {"template": TEMPLATE, "max_new_tokens": 4, "token_budget": 2000}
    return generation.answers(model_in("fp32", device), TOKENIZER, questions, **options)


def stages() -> dict[str, Callable[[str], list]]:
    result = {"gradients": gradients, "norms": norms, "scoring": scores, "generation": answers}
    for policy in POLICIES:
        result[f"unlearn {policy}"] = lambda device, policy=policy: unlearning(device, policy)
    result["unlearn lora"] = lambda device: unlearning(device, "fp32", lora=True)
    result["unlearn offloaded"] = lambda device: unlearning(device, "fp32", offload_moments=True)
    return result


def same(ours, expected) -> bool:
    if isinstance(ours, str):
        return ours == expected
    return torch.allclose(ours.float(), expected.float(), rtol=1e-3, atol=1e-4)


def main() -> None:
    waits = {}
    for name, stage in stages().items():
        with mock.patch.object(torch.nn.functional, "scaled_dot_product_attention", attention):
            expected = stage("cpu")
        with pretended_gpu() as counted:
            result = stage("cuda:0")
            waits[name] = dict(counted)
        result = [x.inner if isinstance(x, OnGpu) else x for x in result]
        # in bf16 a linear layer's kernel on the CPU rounds in another order
        assert "bf16" in name or all(map(same, result, expected)), name
    sizes = {"texts": len(ENCODED["forget"]), "layers": SIZE["layers"]}
    print(json.dumps({"waits": waits} | sizes))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
