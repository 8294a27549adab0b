"""Reserve GPUs for each job of a local run.

`--resources gpu=N` caps how many GPU jobs run at once but gives them no device: all would work on
the first. So a job reserves the first devices whose lock files it can lock, and shows only those to
CUDA. The kernel frees a lock when its process ends, whatever ended it. A job that finds none free
waits.

Notable: a scheduler's choice stands. Nothing is done where CUDA_VISIBLE_DEVICES names as many
devices as the job asks for, as in a job that Slurm gave a GPU. The locks lie in the machine's
temporary folder, so several runs of one user share devices. WAGLE_DEVICES names the devices instead
of counting them (for MIG, or to leave one out). Standard library only.
Left out: other users, and devices of several nodes. That is a scheduler's work.
"""

import contextlib
import fcntl
import os
import sys
import tempfile
import time
from pathlib import Path

from wagle.errors import WagleError


def visible_devices() -> list[str]:
    """Names of the devices that this process may reserve, as CUDA_VISIBLE_DEVICES takes them."""
    named = os.environ.get("WAGLE_DEVICES") or os.environ.get("CUDA_VISIBLE_DEVICES")
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
def reserve(count: int, *, pause: float = 0.5):
    """Show this process `count` devices that no other job of this user holds, until the block ends.

    Waits in steps of `pause` seconds until as many are free. Does nothing where there is nothing to
    choose. It must come before the process first asks CUDA for its devices. Raises WagleError when
    there are fewer than `count` devices, or CUDA has started already.
    """
    devices = visible_devices()
    is_given = "CUDA_VISIBLE_DEVICES" in os.environ and not os.environ.get("WAGLE_DEVICES")
    if not count or not devices or (len(devices) == count and is_given):
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
                os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(reserved)
                yield
                return
        # All or none: two jobs that each hold one and want two would wait for ever.
        time.sleep(pause)
