"""How weights and moments are stored in training: four policies, each an AdamW with a mask.

    fp32              weights and moments in fp32
    bf16              both in bf16, rounded to nearest: the paper's setting, in which small updates
                      vanish
    bf16-stochastic   the same memory; rounded up or down at random, so the expected value is exact
    bf16-kahan        one more bf16 per weight, which keeps what rounding the weight lost (Zamirai
                      et al. 2021, arXiv 2010.06192)

Both of the latter compute in fp32 and round their moments at random: rounded to nearest, 0.999 v is
v again in bf16.

`offload_moments` keeps the moments of fp32 in host memory and streams them, a piece at a time: 8
bytes a weight less on the GPU, the same values, and a slower step.

Notable: frozen weights get a zero gradient. Their moments therefore stay zero, and their bits stay
what they were, unless `Decay.acts_on_frozen`. Weight decay is applied to selected weights a piece
at a time, without a temporary of a parameter's size. Random bits come from torch's generator, which
the loop seeds at each step. On a GPU a mask takes one bit a weight, and is unpacked by piece.

Left out: gradients in fp32 for a bf16 model.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.optim.adamw import adamw

from wagle.errors import WagleError
from wagle.runtime.threads import GPU_PIECE, piece_size, pieces

POLICIES = ("fp32", "bf16", "bf16-stochastic", "bf16-kahan")
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
# Kinds of a parameter's state, also on disk; the last is Kahan's compensation.
FIRST_MOMENT, SECOND_MOMENT, COMPENSATION = "exp_avg", "exp_avg_sq", "lost"


@dataclass(frozen=True)
class Decay:
    """Decoupled weight decay: each step multiplies a weight by 1 - lr * rate.

    acts_on_frozen: it acts on frozen weights too, as in the official code.
    exempt: names of the parameters that it spares.
    """

    rate: float
    acts_on_frozen: bool = False
    exempt: frozenset[str] = frozenset()

    def of(self, name: str) -> float:
        """The rate of parameter `name`."""
        return 0.0 if name in self.exempt else self.rate


def norms_and_biases(model) -> frozenset[str]:
    """Names of the parameters that transformers' Trainer spares from weight decay."""
    found = {name for name, _ in model.named_parameters() if name.endswith("bias")}
    for prefix, module in model.named_modules():
        if isinstance(module, torch.nn.LayerNorm) or "RMSNorm" in type(module).__name__:
            found |= {f"{prefix}.{name}" for name, _ in module.named_parameters(recurse=False)}
    return frozenset(found)


class Optimizer(Protocol):
    """What the training loop and the resume state use of an optimizer."""

    parameters: dict[str, torch.Tensor]

    def step(self, lr: float) -> None:
        """Update the parameters from their `grad`, and drop the gradients."""

    def parameter_state(self, name: str) -> dict[str, torch.Tensor]:
        """The state of parameter `name` by kind, each tensor of the parameter's shape."""

    def load_parameter_state(self, name: str, state: dict[str, torch.Tensor], step: int) -> None:
        """Set the state of parameter `name` to that after `step` steps."""


def weight_precision(policy: str) -> str:
    """What the model is loaded as under `policy`: fp32 or bf16.

    Raises WagleError for an unknown policy.
    """
    if policy not in POLICIES:
        raise WagleError(f"precision {policy!r}", f"one of {', '.join(POLICIES)}")
    return policy.partition("-")[0]


def make_optimizer(
    policy: str,
    parameters: dict[str, torch.Tensor],
    masks: dict[str, torch.Tensor] | None,
    decay: Decay,
    *,
    offload_moments: bool = False,
) -> Optimizer:
    """The AdamW of `policy` over `parameters`, both by name.

    With `masks` (boolean, of the parameters' shapes) it changes weights under a True alone, unless
    `decay` acts on frozen weights.

    Raises WagleError for an unknown policy, and for weights that its rounding does not fit.
    """
    weight_precision(policy)
    frozen = {}
    if masks is not None:
        frozen = {name: _frozen(masks[name], p) for name, p in parameters.items()}
    if offload_moments:
        return StreamedAdamW(parameters, frozen, decay)
    if policy in ("fp32", "bf16"):
        return MaskedAdamW(parameters, frozen, decay)
    if any(p.dtype != torch.bfloat16 for p in parameters.values()):
        raise WagleError(
            f"precision {policy} with weights that are not bf16", "a model loaded in bf16"
        )
    return RoundedAdamW(parameters, frozen, decay, kahan=policy == "bf16-kahan")


class PackedBits:
    """A flat boolean tensor (n,) in n / 8 bytes on its device."""

    def __init__(self, bits: torch.Tensor):
        self.size = bits.numel()
        weights = torch.ones_like(self._shifts(bits.device)) << self._shifts(bits.device)
        self.packed = torch.cat(
            [
                (torch.nn.functional.pad(piece, (0, -len(piece) % 8)).view(-1, 8) * weights)
                .sum(1)
                .to(torch.uint8)
                for piece in bits.split(GPU_PIECE)
            ]
        )

    @staticmethod
    def _shifts(device: torch.device) -> torch.Tensor:
        return torch.arange(8, dtype=torch.uint8, device=device)

    def split(self, size: int) -> Iterator[torch.Tensor]:
        """Its pieces of `size` bits, a multiple of 8, as boolean tensors."""
        shifts = self._shifts(self.packed.device)
        for start, piece in enumerate(self.packed.split(size // 8)):
            bits = (piece[:, None] >> shifts & 1).view(-1)[: self.size - start * size]
            yield bits.view(torch.bool)


def _frozen(mask: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor | PackedBits:
    """Where `mask` is False, flat and on the device of `parameter`; packed on a GPU."""
    frozen = ~mask.to(parameter.device).reshape(-1)
    return PackedBits(frozen) if parameter.is_cuda else frozen


def _with_frozen(
    frozen: torch.Tensor | PackedBits | None, *tensors: torch.Tensor
) -> Iterator[tuple[tuple[torch.Tensor, ...], torch.Tensor | None]]:
    """Pieces of tensors, each with the same piece of `frozen`, or None where nothing is frozen."""
    if frozen is None:
        yield from ((piece, None) for piece in pieces(*tensors))
    else:
        yield from zip(pieces(*tensors), frozen.split(piece_size(tensors[0])), strict=True)


def _apply_mask(
    parameter: torch.Tensor, frozen: torch.Tensor | PackedBits | None, decay: Decay, factor: float
) -> None:
    """Zero the gradient of frozen weights, and multiply the weights that decay by `factor`."""
    if frozen is None:
        parameter.mul_(factor)
        return
    for (weight, gradient), is_frozen in _with_frozen(frozen, parameter, parameter.grad):
        gradient.masked_fill_(is_frozen, 0)
        if factor != 1 and not decay.acts_on_frozen:
            weight.copy_(torch.where(is_frozen, weight, weight * factor))
    if decay.acts_on_frozen:
        parameter.mul_(factor)


class MaskedAdamW:
    """torch's fused AdamW with zeroed gradients on frozen weights and decay on the others."""

    def __init__(
        self,
        parameters: dict[str, torch.Tensor],
        frozen: dict[str, torch.Tensor | PackedBits],
        decay: Decay,
    ):
        self.parameters, self.frozen, self.decay = parameters, frozen, decay
        fused = all(
            p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters.values()
        )
        self.adamw = torch.optim.AdamW(
            list(parameters.values()),
            lr=0.0,
            betas=(BETA1, BETA2),
            eps=EPS,
            weight_decay=0.0,
            fused=fused,
        )

    @torch.no_grad()
    def step(self, lr: float) -> None:
        self.adamw.param_groups[0]["lr"] = lr
        for name, parameter in self.parameters.items():
            factor = 1 - lr * self.decay.of(name)
            _apply_mask(parameter, self.frozen.get(name), self.decay, factor)
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)

    def parameter_state(self, name: str) -> dict[str, torch.Tensor]:
        state = self.adamw.state[self.parameters[name]]
        return {kind: state[kind] for kind in (FIRST_MOMENT, SECOND_MOMENT)}

    def load_parameter_state(self, name: str, state: dict[str, torch.Tensor], step: int) -> None:
        parameter = self.parameters[name]
        device = parameter.device if parameter.is_cuda else "cpu"
        self.adamw.state[parameter] = {"step": torch.tensor(float(step), device=device)} | {
            kind: value.to(parameter.device) for kind, value in state.items()
        }


class StreamedAdamW:
    """MaskedAdamW in fp32 whose moments lie in host memory and pass through the GPU by piece."""

    def __init__(
        self,
        parameters: dict[str, torch.Tensor],
        frozen: dict[str, torch.Tensor | PackedBits],
        decay: Decay,
    ):
        self.parameters, self.frozen, self.decay = parameters, frozen, decay
        self.step_count = 0
        self.state = {
            name: {
                # only pinned memory is copied at the bus's full speed
                kind: torch.zeros(p.shape, dtype=p.dtype, pin_memory=p.is_cuda)
                for kind in (FIRST_MOMENT, SECOND_MOMENT)
            }
            for name, p in parameters.items()
        }

    @torch.no_grad()
    def step(self, lr: float) -> None:
        self.step_count += 1
        for name, parameter in self.parameters.items():
            factor = 1 - lr * self.decay.of(name)
            _apply_mask(parameter, self.frozen.get(name), self.decay, factor)
            columns = parameter, parameter.grad
            size = piece_size(parameter)
            moments = [state.view(-1).split(size) for state in self.state[name].values()]
            for (weight, gradient), *host in zip(pieces(*columns), *moments, strict=True):
                self._update(lr, weight, gradient, *host)
            parameter.grad = None

    def _update(
        self,
        lr: float,
        weight: torch.Tensor,
        gradient: torch.Tensor,
        host_first: torch.Tensor,
        host_second: torch.Tensor,
    ) -> None:
        """One AdamW step of a piece; all tensors are flat and of one size."""
        device = weight.device
        first, second = (x.to(device, non_blocking=True) for x in (host_first, host_second))
        adamw(
            [weight],
            [gradient],
            [first],
            [second],
            [],
            [torch.tensor(float(self.step_count - 1), device=device)],
            fused=True,
            amsgrad=False,
            beta1=BETA1,
            beta2=BETA2,
            lr=lr,
            weight_decay=0.0,
            eps=EPS,
            maximize=False,
        )
        if device.type != "cpu":  # there the moments were updated in place
            host_first.copy_(first)
            host_second.copy_(second)

    def parameter_state(self, name: str) -> dict[str, torch.Tensor]:
        return self.state[name]

    def load_parameter_state(self, name: str, state: dict[str, torch.Tensor], step: int) -> None:
        self.step_count = step
        for kind, value in state.items():
            self.state[name][kind].copy_(value)


class RoundedAdamW:
    """AdamW on bf16 weights and moments, computed in fp32 a piece at a time.

    The new weights are rounded stochastically, or to nearest with compensation (`kahan`).
    """

    def __init__(
        self,
        parameters: dict[str, torch.Tensor],
        frozen: dict[str, torch.Tensor | PackedBits],
        decay: Decay,
        *,
        kahan: bool,
    ):
        self.parameters, self.frozen, self.decay = parameters, frozen, decay
        self.step_count = 0
        kinds = [FIRST_MOMENT, SECOND_MOMENT, *([COMPENSATION] if kahan else [])]
        self.state = {
            name: {kind: torch.zeros_like(p) for kind in kinds} for name, p in parameters.items()
        }

    @torch.no_grad()
    def step(self, lr: float) -> None:
        self.step_count += 1
        for name, parameter in self.parameters.items():
            columns = [parameter, parameter.grad, *self.state[name].values()]
            for piece, is_frozen in _with_frozen(self.frozen.get(name), *columns):
                self._update(lr, self.decay.of(name), *piece, frozen=is_frozen)
            parameter.grad = None

    def _update(
        self, lr, decay, weight, gradient, first_moment, second_moment, compensation=None, *, frozen
    ) -> None:
        """One AdamW step of a piece, in place; all tensors are flat and of one size."""
        g = gradient.float()
        if frozen is not None:
            g.masked_fill_(frozen, 0)
        m = first_moment.float().lerp_(g, 1 - BETA1)
        v = second_moment.float().mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
        first_moment.copy_(round_stochastically(m))
        second_moment.copy_(round_stochastically(v))
        denominator = (v / (1 - BETA2**self.step_count)).sqrt_().add_(EPS)
        old = weight.float()
        update = old * (-lr * decay) - m.div_(denominator).mul_(lr / (1 - BETA1**self.step_count))
        if self.decay.acts_on_frozen:
            frozen = None  # their update is the decay alone
        if compensation is None:
            new = round_stochastically(old + update)
        else:
            update += compensation.float()
            new = (old + update).bfloat16()
            # Rounded to nearest, the same small update would be lost from the compensation in turn.
            lost = round_stochastically(update - (new.float() - old))
            compensation.copy_(lost if frozen is None else lost.masked_fill_(frozen, 0))
        weight.copy_(new if frozen is None else torch.where(frozen, weight, new))

    def parameter_state(self, name: str) -> dict[str, torch.Tensor]:
        return self.state[name]

    def load_parameter_state(self, name: str, state: dict[str, torch.Tensor], step: int) -> None:
        self.step_count = step
        for kind, value in state.items():
            self.state[name][kind].copy_(value)


def round_stochastically(x: torch.Tensor) -> torch.Tensor:
    """Round fp32 `x` to bf16: up with the probability of its position in the gap, else down.

    The expected value is `x`; a value that bf16 can represent stays as it is.
    """
    noise = torch.randint(1 << 16, x.shape, dtype=torch.int32, device=x.device)
    return (x.view(torch.int32).add(noise) & -(1 << 16)).view(torch.float32).bfloat16()
