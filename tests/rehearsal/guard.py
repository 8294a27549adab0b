"""Builds guard.cpp, and runs Python with it: a process in which torch takes the device type cuda.

Such a process has no GPU. Its tensors on cuda:0 have no data (fake_gpu.py) or compute on the CPU
(pretended_gpu.py). It is a process of its own, because the guard stays for the process's life.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from wagle.runtime.identity import ROOT

HERE = Path(__file__).resolve().parent


def _build() -> Path:
    """The library, built once for each source and version of torch."""
    source = HERE / "guard.cpp"
    key = hashlib.sha256(source.read_bytes() + torch.__version__.encode()).hexdigest()[:16]
    library = Path(tempfile.gettempdir()) / f"wagle-guard-{os.getuid()}-{key}.so"
    if not library.exists():
        root = Path(torch.__file__).parent
        partial = library.with_suffix(f".{os.getpid()}.part")
        command = ["g++", "-shared", "-fPIC", "-O0", "-std=c++20", str(source), "-o", str(partial)]
        command += [f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}"]
        command += [f"-I{root}/include", f"-I{root}/include/torch/csrc/api/include"]
        command += [f"-L{root}/lib", "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{root}/lib"]
        subprocess.run(command, check=True)
        partial.replace(library)
    return library


def run(script: str, *arguments: str) -> dict:
    """The JSON that a script of this folder prints as its last line.

    Skips the test where there is no compiler, and where torch is a CUDA build.
    """
    if shutil.which("g++") is None:
        pytest.skip("the rehearsal of a GPU needs g++")
    if torch.version.cuda is not None:
        pytest.skip("the rehearsal of a GPU needs torch's CPU build")
    env = os.environ | {
        "LD_PRELOAD": str(_build()),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests", HERE))),
    }
    command = [sys.executable, str(HERE / script), *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return json.loads(done.stdout.splitlines()[-1])
