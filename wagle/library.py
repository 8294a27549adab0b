"""The project without Snakemake: score, mask, unlearn and evaluate a transformers model in memory.

    rows    = Rows(forget, retain, template="chat")
    scores  = score(model, tokenizer, rows, "wagle", gamma=1e-6)
    weights = mask(scores, ratio=0.8)
    model   = unlearn(model, tokenizer, rows, "npo", weights, lr=1e-5, epochs=5).model
    numbers = evaluate(model, tokenizer, rows)

docs/library.md is the guide. Each function composes those that the pipeline's jobs call, so the
same rows, options and seed give the same masks and weights.

Notable: scores and masks of a large model do not fit in memory together, so these functions pass
them through files in a temporary folder, as the pipeline does. Left out: records, resuming and
several GPUs, for which the pipeline is there.
"""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import torch

from wagle.attribution import attribution, masks
from wagle.attribution.gradients import accumulate
from wagle.attribution.input_norms import feature_norms
from wagle.attribution.score_inputs import (
    calibration_sample,
    retain_sample,
    write_gradients,
    write_norms,
)
from wagle.data.encoding import encode_rows
from wagle.data.prompts import check_template
from wagle.data.rows import check_rows, check_together
from wagle.data.synthetic import REFUSALS
from wagle.evaluation import generation, own_rows, scoring
from wagle.evaluation.protocols import without_rows
from wagle.experiment.plugins import objective_module, score_module
from wagle.model import checkpoints, tensors
from wagle.runtime import identity
from wagle.training.objective import load_objective
from wagle.training.options import TrainingOptions
from wagle.training.unlearning import Unlearned, UnlearningRows
from wagle.training.unlearning import unlearn as unlearn_model

TOKENS = 4096  # most tokens of one pass, where the caller says nothing


@dataclass(frozen=True)
class Rows:
    """What must be forgotten, what must stay, and how both become tokens.

    forget, retain: mappings with `question` and `answer`, or with `text`.
    template, max_length: as in a config (docs/data.md).
    refusals: answers for methods that train on refusals; default: the built-in ones.

    Raises WagleError for rows without these columns, and for a row in both sets.
    """

    forget: list[dict]
    retain: list[dict]
    template: str = "{question} {answer}"
    max_length: int = 512
    refusals: list[str] = field(default_factory=REFUSALS.splitlines)

    def __post_init__(self):
        check_template(self.template)
        check_rows("forget", self.forget, "Rows")
        check_rows("retain", self.retain, "Rows")
        check_together({"forget": self.forget, "retain": self.retain})

    @property
    def encoding(self) -> dict:
        """Keyword arguments of encode_rows()."""
        return {"template": self.template, "max_length": self.max_length}


@dataclass(frozen=True)
class Scores:
    """Scores of a model's weights, in files that live as long as this object.

    select: how weights are ranked (docs/extending.md). summary: what write_scores() says of them.
    """

    folder: tempfile.TemporaryDirectory
    select: str
    summary: dict

    @property
    def file(self) -> Path:
        """The safetensors file with the scores, fp32."""
        return Path(self.folder.name) / "scores.safetensors"

    @property
    def checkpoint(self) -> Path:
        """The folder with the weights that were scored."""
        return Path(self.folder.name) / "checkpoint"

    def by_name(self) -> dict[str, torch.Tensor]:
        """All scores in memory, by parameter name, of the parameters' shapes."""
        names = tensors.names(self.file, tensors.parameter_shapes(self.checkpoint))
        return dict(tensors.stream(self.file, names))


def score(
    model,
    tokenizer,
    rows: Rows,
    selection: str,
    *,
    module: str | None = None,
    seed: int = 0,
    reduction: str = "sum",
    calibration_samples: int = 128,
    token_budget: int = TOKENS,
    **options,
) -> Scores:
    """Score every weight of `model`.

    selection: wagle, wanda, magnitude, random, ...; or any name with your own `module`.
    seed: of the retain rows, the calibration rows and random scores.
    reduction: sum or mean of gradients over rows. calibration_samples: rows behind Wanda's norms.
    token_budget: most tokens of one pass. options: of the score, such as gamma.

    Raises WagleError as write_scores() does.
    """
    module = score_module(selection, {"module": module} if module else {})
    folder, model = tempfile.TemporaryDirectory(prefix="wagle-"), model.eval()
    root, pad, files = Path(folder.name), tokenizer.pad_token_id, {}
    _write_weights(model, root / "checkpoint")
    needs = identity.constant(module, "NEEDS", ())
    drawn = {
        "forget": rows.forget,
        "retain": retain_sample(rows.retain, len(rows.forget), seed),
        "activations": calibration_sample(rows.forget, calibration_samples, seed),
    }
    for name in (name for name in drawn if name in needs):
        files[name] = root / f"{name}.safetensors"
        encoded = encode_rows(tokenizer, drawn[name], **rows.encoding)
        if name == "activations":
            norms = feature_norms(model, encoded, pad, token_budget)
            write_norms(files[name], norms, len(encoded))
        else:
            sums = accumulate(model, encoded, pad, token_budget, reduction).by_name
            write_gradients(files[name], sums, reduction, len(encoded))
    summary = attribution.write_scores(
        root / "scores.safetensors",
        module,
        root / "checkpoint",
        files,
        options=options,
        seed=seed,
    )
    return Scores(folder, identity.constant(module, "SELECT", "global"), summary)


def _write_weights(model, path: Path) -> None:
    """The weights under their names in memory, which is what scores and comparisons read."""
    path.mkdir()
    parameters = dict(model.named_parameters())
    dtypes = {parameter.dtype for parameter in parameters.values()}
    dtype = dtypes.pop() if len(dtypes) == 1 else torch.float32
    shapes = checkpoints.write_order(model, path)
    weights = ((name, parameter.detach()) for name, parameter in parameters.items())
    tensors.write(path / "model.safetensors", shapes, dtype, weights)


def mask(scores: Scores, ratio: float) -> dict[str, torch.Tensor]:
    """The weights that may change, by parameter name: boolean tensors of the parameters' shapes.

    ratio: share of the weights, those of the largest absolute scores.
    """
    file = Path(scores.folder.name) / f"mask-{float(ratio)!r}.safetensors"
    attribution.write_masks([file], scores.file, scores.checkpoint, [ratio], scores.select, {})
    return dict(masks.load(file))


def unlearn(
    model,
    tokenizer,
    rows: Rows,
    method: str,
    masks: dict[str, torch.Tensor] | None = None,
    *,
    lr: float,
    module: str | None = None,
    adapters: dict | None = None,
    method_options: dict | None = None,
    least_moved: float = 0.01,
    weight_decay: float = 0.1,
    batch_size: int = 4,
    warmup: float = 0.1,
    token_budget: int = TOKENS,
    seed: int = 0,
    **training,
) -> Unlearned:
    """Make `model` forget, in place; returns it with the record of what moved.

    method: one of docs/methods.md, such as npo; or any name with your own `module`.
    masks: which weights may change; None: all, or the adapters.
    adapters: r, alpha, dropout (and target_modules), for LoRA instead of masks.
    method_options: of the loss, such as {"beta": 0.1}.
    least_moved: share of the selected weights that must move, or the run is an error.
    training: further fields of TrainingOptions, such as epochs or steps.

    Raises WagleError as wagle.training.unlearning.unlearn() does.
    """
    module = objective_module(method, {"module": module} if module else {})
    options = TrainingOptions(
        lr=lr,
        weight_decay=weight_decay,
        batch_size=batch_size,
        warmup=warmup,
        token_budget=token_budget,
        seed=seed,
        **training,
    )
    with tempfile.TemporaryDirectory(prefix="wagle-") as folder:
        before = Path(folder) / "checkpoint"
        _write_weights(model, before)
        result = unlearn_model(
            model,
            tokenizer,
            UnlearningRows(rows.forget, rows.retain, rows.refusals),
            load_objective(module, method_options or {}),
            options,
            checkpoint=before,
            encoding=rows.encoding,
            least_moved=least_moved,
            masks=masks,
            adapters=adapters,
        )
    result.model.eval()
    return result


def evaluate(
    model,
    tokenizer,
    rows: Rows,
    *,
    max_new_tokens: int = 64,
    token_budget: int = TOKENS,
) -> dict[str, dict]:
    """Metrics of task custom (docs/metrics.md): name -> value, standard error and number of rows.

    max_new_tokens: longest answer. token_budget: most tokens of one pass.
    """
    splits = {"forget": rows.forget, "retain": rows.retain}
    options = rows.encoding | {"token_budget": token_budget}
    log = scoring.score(model.eval(), tokenizer, splits, **options)
    answers = generation.answer_all(
        model, tokenizer, splits, max_new_tokens=max_new_tokens, **options
    )
    return without_rows(own_rows.metrics(log, answers))
