"""Feed readers of files from strangers with damaged and hostile ones.

Every case gives a value or one WagleError, within a second.

    python tests/fuzz_readers.py --cases 100000 [--seed 0]

Readers: masks, records (manifest and run), configs, scoring logs, rows (data and generations),
checkpoints' parameter lists, and resume states.
Cases are drawn by hypothesis. Half damage the bytes of a valid file (flips, cuts, insertions), half
build a file whose fields are wrong (shapes, offsets, counts, types, depths). The second is of
processor time, so a busy machine fails nothing. Prints one JSON line; ends with a traceback at the
first case that escapes.
"""

import argparse
import copy
import json
import math
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from wagle.attribution import masks
from wagle.data.rows import check_rows, read_rows, write_rows
from wagle.errors import WagleError
from wagle.evaluation import scoring
from wagle.experiment import config
from wagle.model import tensors
from wagle.runtime.files import json_text, sha256_text, write_json
from wagle.runtime.identity import ROOT
from wagle.runtime.records import FORMAT, read_manifest, read_run
from wagle.training import optimizers
from wagle.training.resume import Progress, ResumeFolder, load_state, save_state

LIMIT = 1.0  # seconds of processor time
SHARES = {
    "mask": 0.3,
    "record": 0.3,
    "log": 0.1,
    "config": 0.05,
    "rows": 0.15,
    "parameters": 0.05,
    "resume": 0.05,
}

numbers = st.one_of(
    st.integers(-3, 9), st.sampled_from([2**31, 2**63, -(2**63), 2**64, 10**30, 10**400])
)
texts = st.one_of(
    st.text(max_size=8), st.sampled_from(["../../x", "/etc/passwd", "\ud800", "\x00"])
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.floats(), texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=8,
)
LUMPS = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([b"1" * 5000, b"[" * 5000, b'{"a":' * 2000, b"&a [*a, *a]", b"\xe2\x80\xa8"]),
)


@st.composite
def damaged(draw, valid: bytes) -> bytes:
    """`valid` with a few bytes flipped, replaced, inserted or removed, or arbitrary bytes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    content = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(["flip", "put in", "cut out", "cut off", "repeat"]))
        if kind == "flip" and place < len(content):
            content[place] ^= draw(st.integers(1, 255))
        elif kind == "put in":
            content[place:place] = draw(LUMPS)
        elif kind == "cut out":
            del content[place : place + draw(st.integers(1, 40))]
        elif kind == "cut off":
            del content[place:]
        elif kind == "repeat":
            content[place:place] = content[place : place + 30] * draw(st.integers(1, 20))
    return bytes(content)


@st.composite
def altered(draw, value):
    """A JSON value with one to three of its parts replaced, removed or added."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        here = value
        while isinstance(here, (dict, list)) and here:
            keys = sorted(here) if isinstance(here, dict) else range(len(here))
            key = draw(st.sampled_from(list(keys)))
            if isinstance(here[key], (dict, list)) and here[key] and draw(st.integers(0, 3)):
                here = here[key]
                continue
            kind = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
            if kind == "replace":
                here[key] = draw(json_values)
            elif kind == "remove":
                del here[key]
            elif isinstance(here, dict):
                here[
                    draw(
                        st.one_of(
                            st.text(max_size=8), st.sampled_from(["../../up", "/root", "a/../b"])
                        )
                    )
                ] = draw(json_values)
            break
    return value


def text(value) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


@st.composite
def safetensors(draw, header: dict, body: bytes) -> bytes:
    """A file with an altered header, now and then with a length that lies."""
    head = text(draw(altered(header)))
    size = draw(
        st.one_of(
            st.just(len(head)), st.just(len(head)), st.sampled_from([0, 1, 2**31, 2**63, 2**64 - 1])
        )
    )
    return size.to_bytes(8, "little") + head + body


def parts(path: Path) -> tuple[dict, bytes]:
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def examples(folder: Path) -> dict[str, Path]:
    """A valid file for each reader."""
    found = {
        name: folder / name
        for name in ("mask", "record", "run", "log", "config", "rows", "parameters", "resume")
    }
    chosen = {"a": torch.rand(3, 5) > 0.5, "b": torch.rand(7) > 0.5}
    shapes = {name: list(mask.shape) for name, mask in chosen.items()}
    packed = {
        name: torch.from_numpy(np.packbits(mask.reshape(-1).numpy(), bitorder="little"))
        for name, mask in chosen.items()
    }
    said = {
        "shapes": json.dumps(shapes),
        "k": str(sum(int(mask.sum()) for mask in chosen.values())),
        "n": "22",
        "selection": "wagle",
    }
    save_file(packed, found["mask"], metadata=said)
    digest = "0" * 64
    manifest = {
        "format": FORMAT,
        "rule": "mask",
        "wildcards": {"ratio": "0.5"},
        "inputs": {"../../a/manifest.json": digest},
        "raw": {"rows.jsonl": digest},
        "outputs": {"mask": {"sha256": digest, "bytes": 3}},
        "params": {"code": digest + ":a.py"},
    }
    write_json(found["record"], manifest)
    run = {"manifest_sha256": digest, "seconds": 1.0}
    write_json(found["run"], run | {"sha256": sha256_text(json_text(run))})
    count = 12
    log = {
        name: np.array([value] * count, dtype=object)
        for name, value in (("split", "forget_perturbed"), ("role", "answer"))
    }
    log |= {name: np.arange(count, dtype=np.int32) for name in ("row", "answer_zlib", "token_id")}
    log |= {name: np.zeros(count, bool) for name in ("argmax_hit", "in_span", "is_eos")}
    log |= {name: np.zeros(count, np.float32) for name in ("log_prob", "mean", "std")}
    scoring.write_log(found["log"], log, "{question} {answer}")
    found["config"].write_bytes((ROOT / "config" / "config.yaml").read_bytes())
    write_rows(
        found["rows"],
        [{"question": "Who?", "answer": "Nobody.", "perturbed_answer": ["I", "You"]}] * 3,
    )
    found["parameters"].mkdir()
    (found["parameters"] / tensors.ORDER).write_text(json.dumps(shapes))
    found["resume"].mkdir()
    optimizer = optimizers.make_optimizer("fp32", model(), None, optimizers.Decay(0.0))
    for p in optimizer.parameters.values():
        p.grad = torch.ones_like(p)
    optimizer.step(0.1)
    save_state(
        ResumeFolder(found["resume"], "me"), Progress(1, ["{}\n"], {"multiplier": 0.1}), optimizer
    )
    return found


def model() -> dict[str, torch.Tensor]:
    return {"w": torch.nn.Parameter(torch.ones(2, 3))}


def readers(valid: dict[str, Path], folder: Path) -> dict:
    """Reader name -> (strategy of file contents, function of such a content)."""
    at = folder / "case"
    state = valid["resume"] / "state.safetensors"

    def read(function, name="case"):
        def act(content: bytes):
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            return function(at if name == "case" else path.parent)

        return act

    def of(path, *more):
        return st.one_of(damaged(path.read_bytes()), *more)

    record, run = (json.loads(valid[name].read_text()) for name in ("record", "run"))
    plain = yaml.safe_load(valid["config"].read_text())
    rows = [json.loads(line) for line in valid["rows"].read_text().splitlines()]
    shapes = json.loads((valid["parameters"] / tensors.ORDER).read_text())

    def both_records(path):
        try:
            read_manifest(path)
        except WagleError:
            read_run(path)

    def take_up(path):
        optimizer = optimizers.make_optimizer("fp32", model(), None, optimizers.Decay(0.0))
        load_state(ResumeFolder(path, "me"), optimizer)

    order = f"order/{tensors.ORDER}"
    lines = altered(rows).map(lambda found: b"\n".join(map(text, found)))
    parameters = altered(shapes).map(text)
    mask, resumed = parts(valid["mask"]), parts(state)
    return {
        "mask": (
            of(valid["mask"], safetensors(*mask), hostile_mask()),
            read(lambda path: dict(masks.load(path))),
        ),
        "record": (
            of(
                valid["record"], of(valid["run"]), altered(record).map(text), altered(run).map(text)
            ),
            read(both_records),
        ),
        "log": (of(valid["log"]), read(lambda path: scoring.read_log(path, "{question} {answer}"))),
        "config": (
            of(valid["config"], altered(plain).map(text), st.binary(max_size=60)),
            read(config.load),
        ),
        "rows": (of(valid["rows"], lines), read(read_split)),
        "parameters": (
            of(valid["parameters"] / tensors.ORDER, parameters),
            read(tensors.parameter_shapes, order),
        ),
        "resume": (
            of(state, safetensors(*resumed), hostile_state(*resumed)),
            read(take_up, "state/state.safetensors"),
        ),
    }


def read_split(path):
    check_rows("real_authors", read_rows(path), "fuzz")


@st.composite
def hostile_mask(draw) -> bytes:
    """A well-formed safetensors file that says absurd things of itself as a mask."""
    shape, size = draw(st.lists(numbers, max_size=3)), draw(st.integers(0, 3))
    n = draw(st.one_of(numbers, st.just(math.prod(shape)), st.just(math.prod(shape) % 2**64)))
    said = {"shapes": json.dumps({"a": shape}), "k": str(draw(numbers)), "n": str(n)}
    tensor = {
        "dtype": draw(st.sampled_from(["U8", "I8", "F32", "BOOL"])),
        "shape": [size],
        "data_offsets": [0, size],
    }
    head = text({"__metadata__": said, "a": tensor})
    return len(head).to_bytes(8, "little") + head + bytes(size)


@st.composite
def hostile_state(draw, header: dict, body: bytes) -> bytes:
    """A state whose header says absurd things."""
    said = draw(st.one_of(altered(json.loads(header["__metadata__"]["state"])), json_values))
    head = text(header | {"__metadata__": header["__metadata__"] | {"state": json.dumps(said)}})
    return len(head).to_bytes(8, "little") + head + body


def fuzz(strategy, act, cases: int, number: int) -> tuple[int, float]:
    """(cases refused, seconds of the slowest) of `cases` contents drawn from `strategy`."""
    refused, slowest = 0, 0.0

    @seed(number)
    @settings(
        max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(strategy)
    def run(content):
        nonlocal refused, slowest
        began = time.process_time()
        try:
            act(content)
        except WagleError:
            refused += 1
        took = time.process_time() - began
        slowest = max(slowest, took)
        assert took < LIMIT, f"{took:.1f} s for {content[:200]!r}"

    run()
    return refused, slowest


def campaign(cases: int, number: int = 0) -> dict:
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "valid").mkdir()
        for name, (strategy, act) in readers(examples(folder / "valid"), folder).items():
            count = max(1, round(cases * SHARES[name]))
            refused, slowest = fuzz(strategy, act, count, number)
            found[name] = {"cases": count, "refused": refused, "slowest_s": round(slowest, 3)}
            print(name, found[name], file=sys.stderr, flush=True)
    return {"cases": sum(entry["cases"] for entry in found.values())} | found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(json.dumps(campaign(options.cases, options.seed)))
