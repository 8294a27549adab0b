"""Commands that run the project's workflow in a folder of their own, and one run at a time in it.

Notable: the folder's lock is held by this process and by Snakemake, so that it is free as soon as
both have ended, however they ended. It takes the place of Snakemake's own lock, which a killed run
leaves behind.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from wagle.errors import WagleError


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Hold the folder's lock; yields its file descriptor.

    Raises WagleError where another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise WagleError(
                f"another command runs in {folder}", "one at a time", "wait, or name another --out"
            ) from None
        yield file.fileno()


def write_changed(path: Path, text: str) -> None:
    """Write `text`, unless the file has it already: its time stays, and nothing runs again."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def snakemake(
    folder: Path, configfile: Path, cores: int, lock: int, *, gpus: int = 0, targets: Sequence = ()
) -> int:
    """Run the workflow with results below `folder`; returns Snakemake's exit code.

    targets: files to make, relative to `folder`; none means everything of the experiment.

    Raises WagleError where there is no workflow.
    """
    from wagle.runtime.handover import workflow_folder

    workflow = workflow_folder()
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(workflow / "Snakefile")]
    command += ["--workflow-profile", str(workflow / "profiles" / "default")]
    command += ["--directory", str(folder), "--configfile", str(configfile)]
    command += ["--cores", str(cores), "--nolock"]
    if gpus:
        command += ["--resources", f"gpu={gpus}"]
    paths = [str(workflow), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command += ["--", *map(str, targets)] if targets else []
    process = subprocess.Popen(command, env=environment, pass_fds=[lock])
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the terminal sent it to Snakemake too, which ends its jobs
            continue
