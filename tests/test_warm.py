"""Jobs from a warm process have the same outcome as by themselves.

Exit codes pass through, and a killed script takes its fork along.
"""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from wagle.runtime import warm
from wagle.runtime.identity import ROOT


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a script below a stand-in for Snakemake, whose process id names the server.

    Only light imports are preloaded.
    """
    (tmp_path / "sitecustomize.py").write_text(
        "import wagle.runtime.warm\nwagle.runtime.warm.PRELOAD = ('json',)\n"
    )

    def start(body, *, times=1):
        script = tmp_path / "job.py"
        script.write_text(
            "from wagle.runtime.warm import hand_over\n\nhand_over()\n" + textwrap.dedent(body)
        )
        parent = (
            "import os, subprocess, sys\nos.environ['WAGLE_WARM'] = str(os.getpid())\n"
            f"for _ in range({times}):\n"
            f"    done = subprocess.run([sys.executable, {str(script)!r}])\n"
            "sys.exit(done.returncode)\n"
        )
        env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "TMPDIR": str(tmp_path)}
        return subprocess.Popen(
            [sys.executable, "-c", parent],
            env=env,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def test_jobs_run_in_forks_of_one_server(run):
    out, err = run(
        "import os, sys\nprint(os.getppid(), os.environ.get('WAGLE_WARM'), __name__)", times=3
    ).communicate(timeout=60)
    lines = out.split("\n")[:3]
    assert all(line.endswith("None __main__") for line in lines), (out, err)
    assert len({line.split()[0] for line in lines}) == 3  # each supervised by its own fork


@pytest.mark.parametrize(
    ("body", "code"), [("import sys\nsys.exit(7)", 7), ("raise ValueError('why')", 1), ("pass", 0)]
)
def test_exit_codes_and_errors_pass_through(run, body, code):
    process = run(body)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert ("ValueError: why" in err) is ("why" in body)


def test_a_killed_script_takes_its_fork_along(run, tmp_path):
    process = run(
        f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "time.sleep(60)"
    )
    for _ in range(300):
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
            break
        time.sleep(0.1)
    worker = int((tmp_path / "pid").read_text())
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
    )
    os.kill(int(children.stdout.split()[0]), signal.SIGKILL)
    for _ in range(100):
        if not os.path.exists(f"/proc/{worker}"):
            break
        time.sleep(0.1)
    assert not os.path.exists(f"/proc/{worker}")
    process.communicate(timeout=60)


def test_a_job_that_no_run_is_above_starts_by_itself(monkeypatch):
    monkeypatch.setenv("WAGLE_WARM", "999999999")
    started = time.monotonic()
    warm.hand_over()
    assert time.monotonic() - started < 1
