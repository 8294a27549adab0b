"""The GPUs of a job: which it gets, whether torch can use them, and none for a job without.

`--resources gpu=N` caps how many GPU jobs run at once but gives them no device: all would work on
the first. So a job reserves the first devices whose lock files it can lock, and shows only those to
CUDA. The kernel frees a lock when its process ends, whatever ended it. A job that finds none free
waits. A job that asks for no GPU is shown none, so it never opens a context on a device that
another job fills.

Notable: a scheduler's choice stands. Nothing is done where CUDA_VISIBLE_DEVICES names as many
devices as the job asks for, as in a job that Slurm gave a GPU. The locks lie in the machine's
temporary folder, so several runs of one user share devices. WAGLE_DEVICES names the devices instead
of counting them (for MIG, or to leave one out). WAGLE_PLACEHOLDER_GPUS=1 says that the GPUs of a
scheduler are placeholders: jobs ask for them and compute on the CPU, as in a rehearsal.
Left out: other users, and devices of several nodes. That is a scheduler's work.
"""

import contextlib
import fcntl
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from wagle.errors import WagleError

VISIBLE = "CUDA_VISIBLE_DEVICES"
PLACEHOLDERS = "WAGLE_PLACEHOLDER_GPUS"
DRIVER_FILE = Path("/proc/driver/nvidia/version")
# The oldest driver for each major version of CUDA:
# docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html, table 1
OLDEST_DRIVERS = {"11": 450, "12": 525, "13": 580}


def visible_devices() -> list[str]:
    """Names of the devices that this process may reserve, as CUDA_VISIBLE_DEVICES takes them."""
    named = os.environ.get("WAGLE_DEVICES") or os.environ.get(VISIBLE)
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    if "SLURM_JOB_ID" in os.environ:  # a device file there may belong to another job
        return []
    return [str(i) for i in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]


def _lock_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"wagle-devices-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
        raise WagleError(
            f"{folder} belongs to somebody else", do="set TMPDIR to a folder of your own"
        )
    return folder


def _lock(locks: contextlib.ExitStack, device: str) -> bool:
    """Lock one device until `locks` is closed; False where another job holds it."""
    path = _lock_folder() / f"{device.replace('/', '-')}.lock"
    file = locks.enter_context(path.open("w"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _showing(devices: list[str]) -> Iterator[None]:
    """Inside the `with` block CUDA sees `devices` alone, if it has not started yet."""
    before = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = ",".join(devices)
    try:
        yield
    finally:
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before


@contextlib.contextmanager
def reserve(count: int, *, pause: float = 0.5) -> Iterator[None]:
    """Show this process `count` devices that no other job of this user holds, until the block ends.

    With a `count` of 0 it sees no device. Otherwise it waits in steps of `pause` seconds until as
    many are free, and does nothing where there is nothing to choose. It must come before the
    process first asks CUDA for its devices. Raises WagleError when there are fewer than `count`
    devices, or CUDA has started already.
    """
    if not count:
        with _showing([]):
            yield
        return
    devices = visible_devices()
    is_given = VISIBLE in os.environ and not os.environ.get("WAGLE_DEVICES")
    if not devices or (len(devices) == count and is_given):
        yield
        return
    if len(devices) < count:
        raise WagleError(
            f"a job asks for {count} GPUs, {len(devices)} at hand: {', '.join(devices)}",
            do="lower resources.gpu or training_gpus in the config",
        )
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        raise WagleError("CUDA started before a device was chosen", do="report this defect")
    while True:
        with contextlib.ExitStack() as locks:
            reserved = []
            for device in devices:
                if len(reserved) < count and _lock(locks, device):
                    reserved.append(device)
            if len(reserved) == count:
                with _showing(reserved):
                    yield
                return
        # All or none: two jobs that each hold one and want two would wait for ever.
        time.sleep(pause)


def driver_version() -> str | None:
    """Version of the NVIDIA driver, such as 580.65.06; None where no driver is loaded."""
    with contextlib.suppress(OSError):
        if version := re.search(r"\d+\.\d+(\.\d+)?", DRIVER_FILE.read_text(encoding="utf-8")):
            return version[0]
    return None


def check_usable(count: int) -> None:
    """Check that torch can use `count` GPUs. A job would otherwise train on the CPU in silence.

    Raises WagleError, which names the driver's version, the CUDA version of the torch wheel, and
    what to do. Nothing is checked with WAGLE_PLACEHOLDER_GPUS=1.
    """
    if not count or os.environ.get(PLACEHOLDERS) == "1":
        return
    import torch

    usable = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if usable >= count:
        return
    cuda, driver = torch.version.cuda, driver_version()
    raise WagleError(
        f"a job asks for {count} GPUs, torch can use {usable}"
        f" (NVIDIA driver: {driver or 'none loaded'}; torch {torch.__version__}, built for"
        f" {f'CUDA {cuda}' if cuda else 'the CPU alone'};"
        f" {VISIBLE}: {os.environ.get(VISIBLE, 'not set')})",
        f"{count} GPUs that torch can use",
        _remedy(cuda, driver),
    )


def _remedy(cuda: str | None, driver: str | None) -> str:
    """What to do where torch cannot use the GPUs of a job."""
    alternative = "or set resources.gpu: 0 in the config to compute on the CPU"
    if driver is None:
        return f"load the NVIDIA driver, {alternative}"
    if cuda is None:
        return f"install a torch wheel for CUDA (README.md, Installing), {alternative}"
    oldest = OLDEST_DRIVERS.get(cuda.partition(".")[0])
    if oldest and int(driver.partition(".")[0]) < oldest:
        return (
            f"update the driver to {oldest} or later, or install a torch wheel for an older CUDA"
            f" (README.md, Installing), {alternative}"
        )
    return f"see what nvidia-smi says of the devices, {alternative}"
