"""How weights and moments are kept during training: four named policies, each an AdamW that touches selected weights only.

    fp32              weights and moments in fp32
    bf16              both in bf16, rounded to nearest: the paper's setting, in which small updates vanish
    bf16-stochastic   the same memory; rounded up or down at random, so that the expected value is exact
    bf16-kahan        one bf16 more per weight, which keeps what rounding the weight lost (Zamirai et al. 2021, arXiv 2010.06192)

Both of the latter compute in fp32 and round their moments at random: to nearest, 0.999 v is v again in bf16.

Notable: frozen weights get a zero gradient, so their moments stay zero and their bits stay what they were; weight decay is
applied to selected weights alone, a piece at a time, without a temporary of a parameter's size. Random bits come from torch's
generator, which the loop seeds at each step. Left out: gradients in fp32 for a bf16 model.
"""

import torch

from wagle.errors import WagleError
from wagle.runtime.threads import pieces

POLICIES = ("fp32", "bf16", "bf16-stochastic", "bf16-kahan")
BETAS, EPS = (0.9, 0.999), 1e-8


def weights(policy: str) -> str:
    """What the model is loaded as: fp32 or bf16. Raises WagleError for an unknown policy."""
    if policy not in POLICIES:
        raise WagleError(f"precision {policy!r}", f"one of {', '.join(POLICIES)}")
    return policy.partition("-")[0]


def optimizer(policy: str, parameters: dict, masks: dict | None, weight_decay: float):
    """The policy's AdamW over `parameters` (name -> tensor), or only where their `masks` (name -> bool) are True.

    It has step(lr); tensors(name), the moments of a parameter by name; and restore(name, tensors, step).
    """
    weights(policy)
    frozen = (
        {name: ~masks[name].to(p.device) for name, p in parameters.items()}
        if masks is not None
        else {}
    )
    if policy in ("fp32", "bf16"):
        return MaskedAdamW(parameters, frozen, weight_decay)
    if any(p.dtype != torch.bfloat16 for p in parameters.values()):
        raise WagleError(
            f"precision {policy} with weights that are not bf16", "a model loaded in bf16"
        )
    return RoundedAdamW(parameters, frozen, weight_decay, kahan=policy == "bf16-kahan")


class MaskedAdamW:
    """torch's fused AdamW with zeroed gradients on frozen weights and decay on the others."""

    def __init__(self, parameters: dict, frozen: dict, weight_decay: float):
        self.parameters, self.frozen, self.weight_decay = parameters, frozen, weight_decay
        fused = all(
            p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters.values()
        )
        self.adamw = torch.optim.AdamW(
            list(parameters.values()), lr=0.0, betas=BETAS, eps=EPS, weight_decay=0.0, fused=fused
        )

    @torch.no_grad()
    def step(self, lr: float) -> None:
        self.adamw.param_groups[0]["lr"] = lr
        keep = 1 - lr * self.weight_decay
        for name, parameter in self.parameters.items():
            frozen = self.frozen.get(name)
            if frozen is None:
                parameter.mul_(keep)
                continue
            parameter.grad.masked_fill_(frozen, 0)
            if self.weight_decay:
                for weight, still in pieces(parameter, frozen):
                    weight.copy_(torch.where(still, weight, weight * keep))
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        state = self.adamw.state[self.parameters[name]]
        return {key: state[key] for key in ("exp_avg", "exp_avg_sq")}

    def restore(self, name: str, tensors: dict[str, torch.Tensor], step: int) -> None:
        parameter = self.parameters[name]
        count = torch.tensor(float(step), device=parameter.device if parameter.is_cuda else "cpu")
        self.adamw.state[parameter] = {"step": count} | {
            key: value.to(parameter.device) for key, value in tensors.items()
        }


class RoundedAdamW:
    """AdamW on bf16 weights and moments: computed in fp32 a piece at a time, rounded stochastically or compensated."""

    def __init__(self, parameters: dict, frozen: dict, weight_decay: float, *, kahan: bool):
        self.parameters, self.frozen, self.weight_decay, self.count = (
            parameters,
            frozen,
            weight_decay,
            0,
        )
        keys = ("exp_avg", "exp_avg_sq", "lost") if kahan else ("exp_avg", "exp_avg_sq")
        self.state = {
            name: {key: torch.zeros_like(p) for key in keys} for name, p in parameters.items()
        }

    @torch.no_grad()
    def step(self, lr: float) -> None:
        self.count += 1
        for name, parameter in self.parameters.items():
            columns = [parameter, parameter.grad, *self.state[name].values()]
            frozen = self.frozen.get(name)
            for piece in pieces(*columns, *([] if frozen is None else [frozen])):
                self._update(
                    lr, *piece[: len(columns)], frozen=None if frozen is None else piece[-1]
                )
            parameter.grad = None

    def _update(self, lr, weight, gradient, first, second, lost=None, *, frozen) -> None:
        g = gradient.float()
        if frozen is not None:
            g.masked_fill_(frozen, 0)
        m = first.float().lerp_(g, 1 - BETAS[0])
        v = second.float().mul_(BETAS[1]).addcmul_(g, g, value=1 - BETAS[1])
        first.copy_(stochastic(m))
        second.copy_(stochastic(v))
        scale = (v / (1 - BETAS[1] ** self.count)).sqrt_().add_(EPS)
        old = weight.float()
        step = old * (-lr * self.weight_decay) - m.div_(scale).mul_(
            lr / (1 - BETAS[0] ** self.count)
        )
        if lost is None:
            new = stochastic(old + step)
        else:
            step += lost.float()
            new = (old + step).bfloat16()
            rest = step - (new.float() - old)
            rest = stochastic(
                rest
            )  # to nearest, the same small update would be lost from the compensation in turn
            lost.copy_(rest if frozen is None else rest.masked_fill_(frozen, 0))
        weight.copy_(new if frozen is None else torch.where(frozen, weight, new))

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        return self.state[name]

    def restore(self, name: str, tensors: dict[str, torch.Tensor], step: int) -> None:
        self.count = step
        for key, value in tensors.items():
            self.state[name][key].copy_(value)


def stochastic(x: torch.Tensor) -> torch.Tensor:
    """fp32 to bf16: up with the probability of the share of the gap that is passed, else down. bf16 values stay."""
    noise = torch.randint(1 << 16, x.shape, dtype=torch.int32, device=x.device)
    return (x.view(torch.int32).add(noise) & -(1 << 16)).view(torch.float32).bfloat16()
