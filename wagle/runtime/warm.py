"""Starts small jobs in a process that has already imported the heavy libraries.

Importing torch, transformers and sentence-transformers takes 3.5 to 6 s, longer than many a small
cell computes. The first job of a local run starts a server, which imports those libraries and
nothing of this project. Each later job is a fork of the server that runs the job's own script from
its first line. A fork has its own memory, random state and exit code, so a job's outputs do not
depend on how it was started.

    from wagle.runtime.warm import hand_over
    hand_over()        # first line of a script: returns in the process that is to do the work

Notable: it is active only below the process that WAGLE_WARM names (the run's). On a cluster every
job starts by itself. The server ends with that process or after 30 idle seconds. A killed script
takes its fork along. Wherever something fails before the fork, the script carries on by itself.

Left out: accelerators. The server never touches one, and a fork initializes its own. What is set
here for them is set because nothing else of the project runs before torch is loaded.
"""

import array
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

PRELOAD = (
    "torch",
    "numpy",
    "scipy.stats",
    "sklearn.metrics",
    "pyarrow.parquet",
    "safetensors.torch",
    "rouge_score.rouge_scorer",
    "transformers.models.llama.modeling_llama",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "peft",
    "sentence_transformers",
)
# Settings of torch's allocator on a GPU: today's name, and the older ones.
ALLOCATOR_SETTINGS = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
IDLE_SECONDS = 30
MAX_SOCKET_PATH = 100  # bytes; the kernel allows 108
CONNECT_ATTEMPTS, CONNECT_PAUSE = 200, 0.1  # pause in seconds


def _folder(run: str) -> Path:
    return Path(tempfile.gettempdir()) / f"wagle-warm-{os.getuid()}-{run}"


def hand_over() -> None:
    """Let a fork of the warm server run this script, and exit with the fork's exit code.

    It returns where the script must do its work itself: in the fork, and where there is no server.

    Before, it sets torch's allocator, which reads its settings when torch is loaded. In decoding
    each new token makes the cache's blocks a little larger than any that are free. Fixed segments
    then pile up until all are given back, again and again (tests/test_allocator.py).
    """
    if not any(name in os.environ for name in ALLOCATOR_SETTINGS):
        os.environ[ALLOCATOR_SETTINGS[0]] = "expandable_segments:True"
    run = os.environ.get("WAGLE_WARM")
    if not run or not _descends_from(run):
        return
    try:
        connection = _connect(run)
    except OSError:
        return
    request = {"script": os.path.abspath(sys.argv[0]), "cwd": os.getcwd(), "env": dict(os.environ)}
    body = json.dumps(request).encode()
    try:
        fds = array.array("i", [0, 1, 2])
        connection.sendmsg(
            [len(body).to_bytes(8, "little")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)]
        )
        connection.sendall(body)
        answer = connection.recv(4)
    except OSError:
        return
    if len(answer) == 4:
        os._exit(int.from_bytes(answer, "little"))
    os._exit(1)  # the fork died without an exit code: killed


def _descends_from(run: str) -> bool:
    """Whether process `run` is an ancestor of this one.

    It is not in a job that a cluster started on another machine.
    """
    pid = os.getpid()
    while pid > 1:
        if str(pid) == run:
            return True
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return False
        pid = int(stat.rpartition(")")[2].split()[1])
    return False


def _connect(run: str) -> socket.socket:
    folder = _folder(run)
    address = folder / "socket"
    if len(os.fsencode(address)) > MAX_SOCKET_PATH:
        raise OSError(f"{address} is too long for a socket")
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    # Nobody else may receive this job's environment.
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or folder.is_symlink():
        raise OSError(f"{folder} is not ours alone")
    for attempt in range(CONNECT_ATTEMPTS):
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(str(address))
            return client
        except OSError:
            client.close()
        if attempt == 0:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(folder / "starting", os.O_CREAT | os.O_EXCL))
                _start_server(run)
        elif not (folder / "starting").exists() and not address.exists():
            break  # the server came and went
        time.sleep(CONNECT_PAUSE)
    raise OSError("no warm server")


def _start_server(run: str) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    subprocess.Popen(
        [sys.executable, "-m", "wagle.runtime.warm", run],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() if Path("/proc").exists() else True


def serve(run: str) -> None:
    """Import the libraries, then fork for every request.

    The server ends when the run's process is gone, or after IDLE_SECONDS without a request.
    """
    folder = _folder(run)
    try:
        for name in PRELOAD:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        # Otherwise each fork's collector would walk, and so copy, hundreds of thousands of objects
        # that are never freed.
        gc.freeze()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(folder / "socket"))
            server.listen(64)
            last_request = time.monotonic()
            while _alive(int(run)) and time.monotonic() - last_request < IDLE_SECONDS:
                if select.select([server], [], [], 1)[0]:
                    connection, _ = server.accept()
                    if os.fork() == 0:
                        server.close()
                        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                        _supervise(connection)
                    connection.close()
                    last_request = time.monotonic()
    finally:
        for name in ("socket", "starting"):
            (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _supervise(connection: socket.socket) -> None:
    """Fork once more for the work, and send its exit code to the script at the other end.

    When that script is gone, the work is killed.
    """
    head, ancillary, _, _ = connection.recvmsg(8, socket.CMSG_LEN(3 * 4))
    if len(head) < 8 or not ancillary:
        os._exit(1)
    fds = array.array("i", ancillary[0][2])
    size, body = int.from_bytes(head, "little"), b""
    while len(body) < size:
        chunk = connection.recv(size - len(body))
        if not chunk:  # the script was killed before its request was complete
            os._exit(1)
        body += chunk
    worker = os.fork()
    if worker == 0:
        connection.close()
        for target, source in enumerate(fds):
            os.dup2(source, target)
        _work(json.loads(body))

    def end_with_script():
        if not connection.recv(1):  # end of file: the script was killed
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)

    threading.Thread(target=end_with_script, daemon=True).start()
    _, status = os.waitpid(worker, 0)
    code = os.waitstatus_to_exitcode(status)
    with contextlib.suppress(OSError):
        connection.sendall((code if code >= 0 else 128 - code).to_bytes(4, "little"))
    os._exit(0)


def _work(request: dict) -> None:
    """Run the script of `request` in this process as if it had been started by itself."""
    os.environ.clear()
    os.environ.update(request["env"])
    os.environ.pop("WAGLE_WARM", None)
    os.chdir(request["cwd"])
    sys.argv = [request["script"]]
    sys.path.insert(0, str(Path(request["script"]).parent))
    code = 1
    try:
        runpy.run_path(request["script"], run_name="__main__")
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
