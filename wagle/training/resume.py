"""The state of a stopped training run: read whole, of the same run and unaltered, or an error.

A killed job leaves one safetensors file in a folder. It holds weights and optimizer state, and in
its header the run's identity, the steps done, their log lines, the objective's state and a hash
over all of it. No record covers this file, so it carries its hash itself: a state with one flipped
bit would otherwise end in a result that nothing could tell from a right one.

Notable: saving takes at most a twentieth of the time. One save of a 7B model's weights and both
moments takes minutes, so the first one waits as its size says. Tensors are hashed and written one
at a time: the state never lies in host memory as a whole.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from wagle.errors import WagleError
from wagle.model import tensors

STATE_FILE, PARTIAL_FILE = "state.safetensors", "state.part"
INTERVAL_VARIABLE = "WAGLE_RESUME_SECONDS"
SAVE_COST_FACTOR = 20  # training takes at least so many times as long as saving
SAVE_SPEED = 0.5e9  # bytes a second, assumed until a save was measured
WEIGHT = "p"  # tensors are named <kind>.<parameter>; the other kinds are the optimizer's


@dataclass(frozen=True)
class ResumeFolder:
    """Where a run keeps its state.

    identity: a hash of what the run depends on. Another run's state is ignored.
    interval: least seconds between two saves; None takes the environment's.
    """

    path: Path
    identity: str
    interval: float | None = None


class Progress(NamedTuple):
    """How far a run has come: the number of steps done, their log lines, the objective's state."""

    steps: int
    log_lines: list[str]
    state: dict[str, float]


class Clock:
    """Says when to save: `interval` seconds after the last save, and 20 times as long as it took.

    size: bytes of a state, from which the first save's duration is estimated.

    The default interval is WAGLE_RESUME_SECONDS, or 300. Raises WagleError when that environment
    variable is no number of seconds.
    """

    def __init__(self, interval: float | None = None, size: int = 0):
        text = os.environ.get(INTERVAL_VARIABLE, "300")
        try:
            self.interval = float(text) if interval is None else interval
        except ValueError:
            raise WagleError(
                f"{INTERVAL_VARIABLE}={text!r}",
                "seconds between two saved states of a training job",
            ) from None
        self.last, self.cost = time.monotonic(), size / SAVE_SPEED

    def due(self) -> bool:
        elapsed = time.monotonic() - self.last
        return elapsed > max(self.interval, SAVE_COST_FACTOR * self.cost)

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Measures the save inside the `with` block."""
        started = time.monotonic()
        yield
        self.last = time.monotonic()
        self.cost = self.last - started


def _digest(header: list, named: Iterable[tuple[str, torch.Tensor]]) -> str:
    """sha256 over the header and every (name, tensor), in their order."""
    digest = hashlib.sha256(json.dumps(header).encode())
    for name, tensor in named:
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        values = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(memoryview(values.view(torch.uint8).numpy()))
    return digest.hexdigest()


def save_state(resume: ResumeFolder, progress: Progress, optimizer) -> None:
    """Write weights, optimizer state and progress, whole or not at all.

    `optimizer` is one of wagle/training/optimizers.py.
    """
    resume.path.mkdir(parents=True, exist_ok=True)
    state = {f"{WEIGHT}.{name}": p.detach() for name, p in optimizer.parameters.items()}
    for name in optimizer.parameters:
        for kind, value in optimizer.parameter_state(name).items():
            state[f"{kind}.{name}"] = value
    header = [resume.identity, *progress]
    state = dict(sorted(state.items()))
    metadata = {"state": json.dumps(header), "sha256": _digest(header, state.items())}
    partial = resume.path / PARTIAL_FILE
    shapes = {name: list(value.shape) for name, value in state.items()}
    dtypes = {name: value.dtype for name, value in state.items()}
    tensors.write(partial, shapes, dtypes, state.items(), metadata)
    with open(partial, "rb") as file:
        os.fsync(file.fileno())
    partial.replace(resume.path / STATE_FILE)


def state_bytes(parameters: dict[str, torch.Tensor]) -> int:
    """Most bytes of a state: each parameter, both of its moments and its compensation."""
    return 4 * sum(p.numel() * p.element_size() for p in parameters.values())


@torch.no_grad()
def load_state(resume: ResumeFolder | None, optimizer) -> Progress:
    """Load this run's saved state into the optimizer and its parameters, in place.

    Returns the progress of the saved run; Progress(0, [], {}) where there is no state, or another
    run's.

    Raises WagleError when the state is not what was saved.
    """
    from safetensors import SafetensorError, safe_open

    path = resume.path / STATE_FILE if resume else None
    if path is None or not path.exists():
        return Progress(0, [], {})
    try:
        with safe_open(str(path), framework="pt") as file:
            names, metadata = sorted(file.keys()), file.metadata()
            header = json.loads(metadata["state"])
            digest = _digest(header, ((name, file.get_tensor(name)) for name in names))
            if digest != metadata["sha256"]:
                raise ValueError("another hash")
            identity, *progress = header
            if identity != resume.identity:
                return Progress(0, [], {})
            steps, log_lines, objective_state = progress
            kinds = {name.partition(".")[0] for name in names} - {WEIGHT}
            for name, parameter in optimizer.parameters.items():
                parameter.copy_(file.get_tensor(f"{WEIGHT}.{name}"))
                state = {kind: file.get_tensor(f"{kind}.{name}") for kind in kinds}
                optimizer.load_parameter_state(name, state, steps)
    except (
        OSError,
        SafetensorError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        RuntimeError,
        OverflowError,
    ):
        raise WagleError(
            f"{path} is broken",
            "a state saved by this project",
            f"delete {resume.path} and start again",
        ) from None
    return Progress(steps, log_lines, objective_state)
