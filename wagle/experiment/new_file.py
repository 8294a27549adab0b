"""Writes a complete, commented experiment file (`wagle new`, `wagle unlearn`).

The template is wagle/assets/experiment.yaml.j2. What it fills in follows from a `Request`: the
task, the model, the data, and what the user asked for. Resources come from the model's own files.

Notable: the text is parsed and validated before anybody writes it. Left out: what the keys mean
(schema.py), and a search over methods: a file names one of each unless it is a grid.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from wagle.errors import WagleError
from wagle.experiment import model_folders
from wagle.runtime import assets

TASKS = {
    "tofu": "fictitious authors, of whom some are forgotten",
    "wmdp": "hazardous knowledge is forgotten",
    "whp": "a book is forgotten",
    "detox": "toxic answers are forgotten",
    "custom": "rows of your own are forgotten",
}
METHODS = {
    "tofu": ("graddiff", "npo", "po"),
    "wmdp": ("graddiff", "npo"),
    "whp": ("po",),
    "detox": ("po",),
    "custom": ("npo",),
}
OPTIONS = {
    "graddiff": "{retain_weight: 1.0}",
    "npo": "{beta: 0.1, size: mean, retain_weight: 1.0}",
    "po": "{retain_weight: 1.0}",
}
GRID = ("dense", "random", "magnitude", "wanda", "wagle")
QUESTION = "Question: {question}\nAnswer: {answer}"
SMALL = 1e9  # weights; smaller models need larger learning rates
MINUTES = 240  # limit of a job on a cluster; a second attempt gets twice as much


@dataclass(frozen=True)
class Request:
    """What an experiment file is written from.

    model, retrained: blocks of the config's `models`.
    parameters: number of weights; `origin` says where it was read.
    files: of task custom, the names below `data_dir` of forget, retain, general and holdout.
    lr: peak learning rate. None: one that suits the model's size.
    lrs: learning rates of a search; empty: no search.
    share: share of the rows that the search is judged on; None: trials and report share rows.
    least_kept: share of Original's UT Avg that a trial must keep.
    """

    name: str
    task: str
    model: Mapping
    data_dir: str
    parameters: int
    origin: str
    template: str = QUESTION
    files: Mapping[str, str] = field(default_factory=dict)
    retrained: Mapping | None = None
    methods: Sequence[str] = ()
    selections: Sequence[str] = GRID
    ratio: float = 0.95
    lr: float | None = None
    lrs: Sequence[float] = ()
    epochs: int = 5
    share: float | None = None
    least_kept: float = 0.95
    rows: int = 100
    max_length: int = 512
    max_new_tokens: int = 64
    seeds: Sequence[int] = (1,)
    keep: Sequence[str] = ()
    gpus: int = 0
    threads: int = 2
    command: str = "wagle new"
    run: str = ""
    ownership: str = "It is yours to edit."


class Size(NamedTuple):
    """Number of weights of a model, and where it was read."""

    parameters: int
    origin: str


def number(value: float) -> str:
    """A float as YAML reads it back: 1e-05 would be a text there."""
    mantissa, _, exponent = repr(float(value)).partition("e")
    point = mantissa if "." in mantissa else f"{mantissa}.0"
    return f"{point}e{int(exponent):+03d}" if exponent else point


def default_lrs(parameters: int) -> tuple[float, ...]:
    """Learning rates of a short search, about half a decade apart."""
    return (1e-5, 3e-5, 1e-4) if parameters < SMALL else (3e-6, 1e-5, 3e-5)


def experiment_text(request: Request) -> str:
    """The file's text. Raises WagleError unless it is a valid experiment."""
    import jinja2
    import yaml

    from wagle.experiment import config

    if request.task not in TASKS:
        raise WagleError(f"task {request.task!r}", f"one of {', '.join(TASKS)}")
    small = request.parameters < SMALL
    lr = request.lr or default_lrs(request.parameters)[1]
    raw = request.task == "wmdp"  # texts: steps, and no decay, as in the paper
    values = vars(request) | {
        "methods": request.methods or METHODS[request.task],
        "title": TASKS[request.task],
        "options": OPTIONS,
        "lr": number(lr),
        "lrs": [number(rate) for rate in request.lrs],
        "length": "steps: 500" if raw else f"epochs: {request.epochs}",
        "decay": "0.0" if request.task in ("wmdp", "whp", "detox") else "0.1",
        "small": small,
        "budget": 8192 if request.gpus else 1024,
        "minutes": MINUTES,
        "seeds": list(request.seeds),
        "keep": list(request.keep),
        "parameters": number(request.parameters),
        "run": request.run
        or f"snakemake --cores {request.threads} --configfile {request.name}.yaml",
    }
    environment = jinja2.Environment(
        autoescape=False, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    text = environment.from_string(assets.text("experiment.yaml.j2")).render(values)
    config.validate(yaml.safe_load(text), f"{request.name}.yaml")
    return text


def model_block(name: str) -> dict:
    """The config's block of a model: a folder, or a name of the hub, `NAME` or `NAME@REVISION`.

    Raises WagleError for a path that is no model folder.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise WagleError(
                f"{name} has no config.json", "a folder with a model in Hugging Face's format"
            )
        return {"source": "path", "path": str(folder.resolve())}
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise WagleError(
            f"no model folder {name}",
            "a folder with config.json and safetensors weights, or a name of the hub such as"
            " HuggingFaceTB/SmolLM2-135M-Instruct",
        )
    name, _, revision = name.partition("@")
    return {"source": "hub", "name": name, "revision": revision or "main"}


def model_size(block: Mapping) -> Size:
    """Number of weights of a `model_block`, from its files' headers or its config.json.

    Raises WagleError where neither is at hand, and for a folder without safetensors weights.
    """
    from wagle.experiment import model_shape

    if block["source"] == "path":
        files = sorted(Path(block["path"]).glob("*.safetensors"))
        if not files:
            raise WagleError(
                f"{block['path']} has no .safetensors file",
                "weights as safetensors",
                "load the model in Python once and save it with"
                " model.save_pretrained(FOLDER, safe_serialization=True)",
            )
        return Size(sum(map(_weights_in, files)), "counted in its weight files")
    shape = model_shape.shape({"models": {"target": dict(block)}})
    return Size(shape.parameters, "from its config.json")


def _weights_in(path: Path) -> int:
    """Weights in one safetensors file, by its header."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, 100_000_000)))
        shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
    except (OSError, ValueError, struct.error, KeyError, TypeError) as error:
        raise WagleError(f"{path} is not a safetensors file: {error!r}") from None
    total = 0
    for sizes in shapes:
        product = 1
        for size in sizes:
            product *= size
        total += product
    return total


def template_of(block: Mapping) -> str:
    """`chat` for a folder whose tokenizer has a chat template, else a plain question and answer."""
    chat = block["source"] == "path" and model_folders.has_chat_template(block["path"])
    return "chat" if chat else QUESTION
