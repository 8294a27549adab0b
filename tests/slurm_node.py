"""A real one-node Slurm for tests, and for trying the Slurm profile without a cluster.

    python tests/slurm_node.py COMMAND ...      runs COMMAND beside such a node, then ends the node

Notable: the daemons are children in the foreground that end with this process, even with a killed
one. A job that runs just then is left over, because nobody is there to cancel it. The daemons
listen on the loopback address only and have their own munge key, so a Slurm of the machine is
neither used nor touched. Two GPUs are placeholders (harmless device files): `--gpus=1` waits for
one and sets CUDA_VISIBLE_DEVICES. A job above its memory is killed within a second or two, without
cgroups. The node states 4 CPUs and 64 GB, whatever the machine has. Missing packages are installed
by apt, which needs root and Debian or Ubuntu.
Left out: an accounting database (profiles/slurm/no-accounting takes its place), several nodes.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PACKAGES = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
}
ROOT = Path(__file__).resolve().parent.parent
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
CONFIG = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
SchedulerParameters=sched_interval=1,batch_sched_delay=0
MinJobAge=300
KillWait=2
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class UnavailableError(Exception):
    """Slurm is not installed and cannot be installed here."""


def install() -> None:
    """Install missing packages by apt, without letting them start services.

    Raises UnavailableError where that fails.
    """
    missing = [
        package for program, package in PACKAGES.items() if not shutil.which(program, path=PATH)
    ]
    if not missing:
        return
    if os.getuid() != 0 or not shutil.which("apt-get"):
        raise UnavailableError(
            f"not installed: {' '.join(missing)} (installing them needs root and apt)"
        )
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
            done = subprocess.run(
                ["apt-get", "-q", *arguments], env=env, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise UnavailableError(
                    f"apt-get {arguments[0]} failed: {done.stderr.strip()[-300:]}"
                )
    finally:
        if ours:
            policy.unlink()


def free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class SlurmNode:
    """Context manager: a running node.

    `env` is the environment in which Slurm's commands and Snakemake find it.
    """

    def __init__(self, cpus: int = 4):
        install()
        self.cpus = cpus
        self.folder = Path(
            tempfile.mkdtemp(prefix="slurm-", dir="/tmp")
        )  # short: a socket's path has 108 bytes at most
        shim = (
            self.folder / "bin" / "srun"
        )  # Snakemake drops SLURM_CONF before it calls srun inside a job
        shim.parent.mkdir()
        config = self.folder / "slurm.conf"
        shim.write_text(
            f'#!/bin/sh\nSLURM_CONF={config} exec {shutil.which("srun", path=PATH)} "$@"\n'
        )
        shim.chmod(0o755)
        outer = {
            k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "SRUN_"))
        }
        path = [
            shim.parent,
            ROOT / "profiles" / "slurm" / "no-accounting",
            os.environ["PATH"],
            PATH,
        ]
        self.env = outer | {
            "SLURM_CONF": str(config),
            "PATH": ":".join(map(str, path)),
            "WAGLE_PLACEHOLDER_GPUS": "1",
        }
        self.daemons: dict[str, subprocess.Popen] = {}

    def __enter__(self):
        try:
            self._configure()
            key = self.folder / "munge.key"
            key.write_bytes(os.urandom(1024))
            key.chmod(0o600)
            files = {
                "key-file": key,
                "socket": "munge.socket",
                "pid-file": "munge.pid",
                "log-file": "munge.log",
                "seed-file": "seed",
            }
            self._start(
                "munged",
                "--foreground",
                "--force",
                *[f"--{k}={self.folder / v}" for k, v in files.items()],
            )
            self._wait(lambda: (self.folder / "munge.socket").exists(), "munged")
            self.start_controller()
            self._start("slurmd", "-D")
            self._wait(
                lambda: self.run("sinfo", "-h", "-o", "%T").stdout.strip() == "idle", "an idle node"
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.run("scancel", "--user", str(os.getuid()))
            self._wait(
                lambda: not self.run("squeue", "-h").stdout.strip(),
                "jobs to end",
                seconds=15,
                strict=False,
            )
        for name in ("slurmd", "slurmctld", "munged"):
            self.stop(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _configure(self) -> None:
        import getpass

        host = socket.gethostname().partition(".")[0]
        values = {"host": host, "cpus": self.cpus, "user": getpass.getuser(), "folder": self.folder}
        (self.folder / "slurm.conf").write_text(CONFIG.format(ports=free_ports(2), **values))
        (self.folder / "gres.conf").write_text(
            "".join(f"Name=gpu File=/dev/{name}\n" for name in ("null", "zero"))
        )
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        for name in ("state", "spool"):
            (self.folder / name).mkdir()

    def _start(self, program: str, *arguments: str) -> None:
        command = ["setpriv", "--pdeathsig", "KILL", shutil.which(program, path=PATH), *arguments]
        with open(self.folder / f"{program}.out", "ab") as log:
            self.daemons[program] = subprocess.Popen(
                command,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait(self, condition, what: str, *, seconds: float = 30, strict: bool = True) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            dead = [name for name, daemon in self.daemons.items() if daemon.poll() is not None]
            if strict and (dead or time.monotonic() > deadline):
                logs = {
                    path.name: path.read_text(errors="replace")[-1500:]
                    for path in self.folder.glob("*.out")
                }
                raise RuntimeError(f"waited for {what}; ended: {dead}; {logs}")
            if time.monotonic() > deadline:
                return
            time.sleep(0.1)

    def run(self, *command: str, timeout: float = 20) -> subprocess.CompletedProcess:
        """Run one of Slurm's commands; a failure is in the return code."""
        return subprocess.run(
            command, env=self.env, capture_output=True, text=True, check=False, timeout=timeout
        )

    def start_controller(self) -> None:
        self._start("slurmctld", "-D")
        self._wait(lambda: "UP" in self.run("scontrol", "ping").stdout, "slurmctld")

    def stop(self, program: str) -> None:
        """End a daemon of ours."""
        daemon = self.daemons.pop(program, None)
        if daemon:
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def jobs(self, *states: str) -> dict[str, str]:
        """{job id: comment} of the jobs in these states, such as PENDING and RUNNING.

        The comment has rule and wildcards.
        """
        listed = self.run("squeue", "-h", "-t", ",".join(states), "-o", "%i|%k").stdout
        return dict(line.split("|", 1) for line in listed.splitlines())


if __name__ == "__main__":
    with SlurmNode() as node:
        sys.exit(subprocess.run(sys.argv[1:], env=node.env, check=False).returncode)
