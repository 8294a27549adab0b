"""Every family of models, from base to metrics with the library's own steps.

The models are tiny and random (tiny_families.py). Each is published as its family publishes it:
names of the family, bf16, several files.
"""

import conftest
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from test_workflow import make_embedder
from tiny_families import FAMILIES, TABLE, build, table_row

from wagle.attribution import masks, output_rows, topk
from wagle.attribution.attribution import write_masks, write_scores
from wagle.attribution.gradients import accumulate
from wagle.attribution.input_norms import feature_norms
from wagle.data import synthetic
from wagle.data.encoding import encode_rows
from wagle.evaluation import generation, protocols, scoring
from wagle.model import checkpoints, embedding, families, inspection, tensors
from wagle.runtime.identity import ROOT
from wagle.training.finetuning import finetune
from wagle.training.objective import load_objective
from wagle.training.options import TrainingOptions
from wagle.training.unlearning import UnlearningRows, unlearn

ENCODING = {"template": conftest.TEMPLATE, "max_length": 128}
TRAINING = TrainingOptions(
    lr=1e-3, weight_decay=0.1, batch_size=4, warmup=0.0, token_budget=2000, seed=1, steps=1
)
GLOBAL = ("random", "magnitude", "snip", "gradient", "wagle")
ROWWISE = ("wanda", "random_rows")
RATIO = 0.3


@pytest.fixture(scope="module")
def splits():
    return {role: synthetic.split(role, 6, 2, 0)[:3] for role in conftest.EVALUATED}


@pytest.fixture(scope="module")
def candidates(tmp_path_factory, _tiny, splits):
    """An embedding model and its vectors of the candidates."""
    embedder = embedding.load(make_embedder(tmp_path_factory.mktemp("embedder"), _tiny[1]))
    entries = [entry for entry in generation.tasks(splits) if "candidates" in entry]
    return embedder, embedding.embed(embedder, [t for e in entries for t in e["candidates"]])


def published(family, tokenizer, folder):
    """The family's model in `folder`, as one would download it."""
    model = build(family, tokenizer).bfloat16()
    model.save_pretrained(folder, max_shard_size="40KB")
    tokenizer.save_pretrained(folder)
    assert len(list(folder.glob("*.safetensors"))) > 1
    return folder


def tensors_of(folder):
    return {
        name: tensor
        for path in folder.glob("*.safetensors")
        for name, tensor in load_file(path).items()
    }


def write_attribution(model, tokenizer, rows, folder):
    """Gradients and activations as the pipeline writes them: {need: path}, and the input norms."""
    encoded = {side: encode_rows(tokenizer, rows[side], **ENCODING) for side in rows}
    files = {}
    for side in ("forget", "retain"):
        by_name = accumulate(model, encoded[side], tokenizer.pad_token_id, 2000).by_name
        assert all(gradient.any() for name, gradient in by_name.items() if "experts" not in name)
        files[side] = folder / f"{side}.safetensors"
        shapes = {name: list(gradient.shape) for name, gradient in by_name.items()}
        tensors.write(files[side], shapes, torch.float32, by_name.items())
    norms = feature_norms(model, encoded["forget"], tokenizer.pad_token_id, 2000)
    files["activations"] = folder / "activations.safetensors"
    shapes = {name: list(norm.shape) for name, norm in norms.by_name.items()}
    metadata = output_rows.metadata(norms.transposed)
    tensors.write(files["activations"], shapes, torch.float32, norms.by_name.items(), metadata)
    return files, norms


def check_global(name, target, files, folder):
    """All parameters have scores, tied ones once, and masks have the exact budget."""
    shapes = tensors.parameter_shapes(target)
    n = sum(map(tensors.elements, shapes.values()))
    options = {"gamma": 1e-3} if name == "wagle" else {}
    scores, mask = folder / f"{name}.scores", folder / f"{name}.mask"
    stats = write_scores(scores, f"wagle.scores.{name}", target, files, options=options, seed=0)
    assert stats["n"] == n and stats["coverage"] == 1 and not stats["unranked"]
    with safe_open(scores, "pt") as file:
        assert set(file.keys()) == shapes.keys()
    origin = dict.fromkeys(("selection", "gamma", "scores_sha256", "model_sha256"), "")
    write_masks([mask], scores, target, [RATIO], "global", origin)
    assert sum(int(m.sum()) for _, m in masks.load(mask)) == topk.budget(RATIO, n)
    return mask


def check_rowwise(name, target, files, norms, folder):
    """What is ranked has the same number of weights in every output row; what is not is named."""
    shapes, weights = tensors.parameter_shapes(target), tensors_of(target)
    scores = folder / f"{name}.scores"
    stats = write_scores(scores, f"wagle.scores.{name}", target, files, options={}, seed=0)
    ranked = sum(tensors.elements(shapes[n]) for n in norms.by_name)
    total = sum(map(tensors.elements, shapes.values()))
    assert stats["coverage"] == ranked / total > 0.25
    assert set(stats["unranked"]) == {
        n for n, shape in shapes.items() if len(shape) > 1 and n not in norms.by_name
    }
    if name == "wanda":
        for parameter, score in load_file(scores).items():
            size = norms.by_name[parameter]
            if size.ndim == 2:
                size = size[:, None]
            weight = weights[parameter]
            turned = parameter in norms.transposed
            expected = (weight.mT if turned else weight).abs() * size
            assert torch.equal(score, expected.mT if turned else expected), parameter
    origin = dict.fromkeys(("selection", "gamma", "scores_sha256", "model_sha256"), "")
    exact = topk.budget(0.2, total)
    for select, ratio in (("rows", RATIO), ("rows-matched", 0.2)):
        mask = folder / f"{name}.{select}.mask"
        write_masks([mask], scores, target, [ratio], select, origin)
        loaded = dict(masks.load(mask))
        for parameter, selected in loaded.items():
            if parameter in norms.by_name:
                rows = output_rows.as_rows(selected, parameter in norms.transposed)
                counts = rows.sum(1)
                if select == "rows":
                    assert (counts == topk.budget(ratio, rows.shape[1])).all(), parameter
                else:
                    assert counts.max() - counts.min() <= 1, parameter
            else:
                assert selected.all() if select == "rows" else not selected.any(), parameter
    assert sum(int(m.sum()) for m in loaded.values()) == exact


def run_cell(target, tokenizer, rows, objective, *, mask=None, adapters=None):
    return unlearn(
        checkpoints.load(target),
        tokenizer,
        UnlearningRows(rows["forget"], rows["retain"], ["I do not know that."]),
        load_objective(f"wagle.objectives.{objective}", {}),
        TRAINING,
        checkpoint=target,
        encoding=ENCODING,
        least_moved=0.01,
        masks=dict(masks.load(mask)) if mask else None,
        adapters=adapters,
    )


def evaluate(model, tokenizer, splits, candidates):
    options = {"template": conftest.TEMPLATE, "token_budget": 4000}
    log = scoring.score(model, tokenizer, splits, max_length=128, **options)
    entries = generation.tasks(splits)
    questions = [entry["question"] for entry in entries]
    answers = generation.answers(model, tokenizer, questions, max_new_tokens=3, **options)
    for entry, answer in zip(entries, answers, strict=True):
        entry["generated"] = answer
    embedding.add_similarities(entries, *candidates)
    return protocols.evaluate("wagle", log, entries)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_from_base_to_metrics(family, tokenizer, rows, splits, candidates, tmp_path):
    rows = {side: rows[side][:6] for side in ("forget", "retain")}
    folder = published(family, tokenizer, tmp_path / "published")
    model, tokenizer = checkpoints.obtain({"source": "path", "path": str(folder)}, [], 0)
    base, target = tmp_path / "base", tmp_path / "target"
    checkpoints.save(model, tokenizer, base)
    # names in memory are names on disk, and both forms load as one model
    assert tensors_of(base).keys() == tensors.parameter_shapes(base).keys()
    again = dict(checkpoints.load(base).named_parameters())
    assert all(torch.equal(p.float(), again[name]) for name, p in model.named_parameters())
    kinds = {name: families.module_of(name) for name in again}
    other = sum(again[name].numel() for name, kind in kinds.items() if kind == "other")
    assert other <= 0.05 * sum(p.numel() for p in again.values())

    model = finetune(
        checkpoints.load(base), tokenizer, rows["retain"], TRAINING, encoding=ENCODING
    ).model
    checkpoints.save(model, tokenizer, target)
    files, norms = write_attribution(model, tokenizer, rows, tmp_path)
    assert set(inspection.row_ranked(model)) == norms.by_name.keys()
    chosen = {name: check_global(name, target, files, tmp_path) for name in GLOBAL}
    for name in ROWWISE:
        check_rowwise(name, target, files, norms, tmp_path)

    before = tensors_of(target)
    objective = ("graddiff", "npo", "po")[FAMILIES.index(family) % 3]
    unlearned, record = run_cell(target, tokenizer, rows, objective, mask=chosen["wagle"])
    assert record["frozen_moved"] == 0 < record["share_moved"]
    for name, selected in masks.load(chosen["wagle"]):
        after = unlearned.get_parameter(name).detach()
        assert torch.equal(after[~selected], before[name][~selected]), name
    checkpoints.save(unlearned, tokenizer, tmp_path / "unlearned")
    _, record = run_cell(
        target, tokenizer, rows, "npo", adapters={"r": 2, "alpha": 4, "dropout": 0.0}
    )
    assert record["frozen_moved"] == 0 and record["share_moved"] > 0.5
    model = checkpoints.load(tmp_path / "unlearned")
    metrics = evaluate(model, tokenizer, splits, candidates)
    assert all(0 <= metrics[name]["value"] <= 1 for name in ("UE Avg", "UT Avg"))
    row = table_row(family, model, norms.uncovered)
    assert row in (ROOT / "README.md").read_text(), f"README.md lacks the row\n{row}"


def test_readme_lists_no_other_family():
    text = (ROOT / "README.md").read_text()
    table = text.split("\n".join(TABLE) + "\n")[1].split("\n\n")[0]
    names = [line.split("|")[1].strip() for line in table.splitlines()]
    assert names == [family.name for family in FAMILIES]
