"""The state of a stopped training run: whole, its own, and unaltered, or an error.

One safetensors file in a folder that a killed job leaves behind: weights, the optimizer's moments, and in the header the
run's identity, the steps done, their log lines and a hash over all of it. No record covers such a file, so it carries its
hash itself: a state with one flipped bit would otherwise end in a result that nothing could tell from a right one.
Saving takes at most a twentieth of the time: of a 7B model's state, weights and both moments, one save takes minutes.
"""

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path

import torch

from wagle.errors import WagleError

NAME = "state.safetensors"


class Clock:
    """When to save: `seconds` (WAGLE_RESUME_SECONDS, or 300) after the last save, and 20 times as long as that one took.

    Raises WagleError when the environment variable is no number of seconds.
    """

    def __init__(self, seconds: float | None = None):
        said = os.environ.get("WAGLE_RESUME_SECONDS", "300")
        try:
            self.pause = float(said) if seconds is None else seconds
        except ValueError:
            raise WagleError(
                f"WAGLE_RESUME_SECONDS={said!r}",
                "seconds between two saved states of a training job",
            ) from None
        self.last, self.cost = time.monotonic(), 0.0

    def due(self) -> bool:
        return time.monotonic() - self.last > max(self.pause, 20 * self.cost)

    @contextlib.contextmanager
    def saving(self):
        """Around a save."""
        started = time.monotonic()
        yield
        self.last = time.monotonic()
        self.cost = self.last - started


def _digest(said: list, tensors) -> str:
    """sha256 over the header's content and every (name, tensor), in the order given."""
    found = hashlib.sha256(json.dumps(said).encode())
    for name, tensor in tensors:
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(
            memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        )
    return found.hexdigest()


def save(
    folder: Path, identity: str, step: int, parameters: dict, optimizer, lines: list[str]
) -> None:
    """Write the state after `step` steps, whole or not at all. `optimizer.tensors(name)` are a parameter's moments."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {f"p.{name}": p.detach() for name, p in parameters.items()}
    for name in parameters:
        state |= {f"{key}.{name}": value for key, value in optimizer.tensors(name).items()}
    said = [identity, step, lines]
    header = {"state": json.dumps(said), "sha256": _digest(said, sorted(state.items()))}
    save_file(
        {k: v.contiguous() for k, v in state.items()}, str(folder / "state.part"), metadata=header
    )
    with open(folder / "state.part", "rb") as file:
        os.fsync(file.fileno())
    (folder / "state.part").replace(folder / NAME)


@torch.no_grad()
def take_up(
    folder: Path | None, identity: str, parameters: dict, optimizer
) -> tuple[int, list[str]]:
    """(steps done, log lines) of a saved state of this very run, loaded in place; (0, []) where there is none.

    Raises WagleError when the state is not what was saved.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / NAME if folder else None
    if path is None or not path.exists():
        return 0, []
    try:
        with safe_open(str(path), framework="pt") as file:
            names, metadata = sorted(file.keys()), file.metadata()
            said = json.loads(metadata["state"])
            if (
                _digest(said, ((name, file.get_tensor(name)) for name in names))
                != metadata["sha256"]
            ):
                raise ValueError("another hash")
            owner, step, lines = said
            if owner != identity:
                return 0, []
            kinds = {name.partition(".")[0] for name in names} - {"p"}
            for name, p in parameters.items():
                p.copy_(file.get_tensor(f"p.{name}"))
                optimizer.restore(
                    name, {kind: file.get_tensor(f"{kind}.{name}") for kind in kinds}, step
                )
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
            f"{path} is broken", "a state saved by this project", f"delete {folder} and start again"
        ) from None
    return step, lines
