"""A GPU of its own for each job of a local run.

`--resources gpu=N` caps how many GPU jobs run at once but gives them no device: all would work on the first. So a job takes the
first devices whose lock files it can lock, and shows only those to CUDA. The kernel frees a lock when its process ends,
whatever ended it; a job that finds none free waits.

Notable: a scheduler's choice stands. Where CUDA_VISIBLE_DEVICES names as many devices as the job asks for, as in a job that
Slurm gave a GPU, nothing is done. The locks lie in the machine's temporary folder, so several runs of one user share devices.
WAGLE_DEVICES names the devices instead of counting them (for MIG, or to leave one out).
Left out: other users, and devices of several nodes; that is a scheduler's work. Standard library only.
"""

import contextlib
import fcntl
import os
import sys
import tempfile
import time
from pathlib import Path

from wagle.errors import WagleError


def at_hand() -> list[str]:
    """Names of the devices that this process may choose from, as CUDA_VISIBLE_DEVICES takes them."""
    named = os.environ.get("WAGLE_DEVICES") or os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    if "SLURM_JOB_ID" in os.environ:  # a device file there may belong to another job
        return []
    return [str(i) for i in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]


def _folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"wagle-devices-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if folder.is_symlink() or found.st_uid != os.getuid():
        raise WagleError(
            f"{folder} belongs to somebody else", do="set TMPDIR to a folder of your own"
        )
    return folder


def _lock(locks: contextlib.ExitStack, name: str) -> bool:
    file = locks.enter_context((_folder() / f"{name.replace('/', '-')}.lock").open("w"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def lent(wanted: int, *, pause: float = 0.5):
    """Show this process `wanted` devices that no other job of this user holds; they are its own until the block ends.

    Does nothing where there is nothing to choose. Must come before the process first asks CUDA for its devices. Raises WagleError
    when there are fewer devices than wanted, or CUDA has started already.
    """
    names = at_hand()
    chosen = "CUDA_VISIBLE_DEVICES" in os.environ and not os.environ.get("WAGLE_DEVICES")
    if not wanted or not names or (len(names) == wanted and chosen):
        yield
        return
    if len(names) < wanted:
        found = f"a job asks for {wanted} GPUs, {len(names)} at hand: {', '.join(names)}"
        raise WagleError(found, do="lower resources.gpu or training_gpus in the config")
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        raise WagleError("CUDA started before a device was chosen", do="report this defect")
    while True:
        with contextlib.ExitStack() as locks:
            mine = []
            for name in names:
                if len(mine) < wanted and _lock(locks, name):
                    mine.append(name)
            if len(mine) == wanted:
                os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
                yield
                return
        time.sleep(
            pause
        )  # all or none: two jobs that each hold one and want two would wait for ever
