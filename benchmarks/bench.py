"""What the benchmarks share: a results file, the machine's description, and child processes.

Each claim is one entry of results/bench.json: {name, value, unit, target, holds, limit, machine}.
Each measured path runs in a child process. Ratios come from one run on one machine; nothing here
asserts a time.
"""

import contextlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

OUTPUT = Path("results/bench.json")


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"


def report(name: str, value: float, unit: str, target: str, holds: bool, limit: str) -> None:
    """Print one claim and put it into results/bench.json, in place of one of the same name."""
    entry = {
        "name": name,
        "value": value,
        "unit": unit,
        "target": target,
        "holds": holds,
        "limit": limit,
        "machine": machine(),
    }
    verdict = "holds" if holds else "does not hold"
    print(f"{name}: {value:.4g} {unit} (target: {target}; {verdict}). Limited by {limit}.")
    entries = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else []
    entries = [earlier for earlier in entries if earlier["name"] != name] + [entry]
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(entries, indent=1) + "\n")


def child(script: str, *arguments: str) -> dict:
    """Run `script` with `arguments` in its own process; the last line of output is JSON."""
    command = [sys.executable, script, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def _memory(key: str) -> int:
    """A line of /proc/self/status in bytes: VmRSS now, VmHWM at most."""
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)
    )
    return int(line.split()[1]) * 1024


@contextlib.contextmanager
def peak_above():
    """Yields an object whose `bytes`, after the block, is how far memory rose above its start.

    Linux only.
    """
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before, peak = _memory("VmRSS"), SimpleNamespace(bytes=0)
    yield peak
    peak.bytes = _memory("VmHWM") - before
