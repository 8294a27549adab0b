"""The workflow itself: a tiny experiment from data to report.

Nothing is to do afterwards, and a change re-runs exactly the jobs that it must. The project is
copied, so that code can be changed. The experiment has a score and a method from outside the
library. Jobs are counted by real dry runs.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import pandas as pd
import pytest
import yaml

from wagle.attribution import masks
from wagle.runtime.files import sha256_file
from wagle.runtime.identity import ROOT
from wagle.runtime.records import read_manifest

pytestmark = pytest.mark.slow(6)

PARTS = ["Snakefile", "rules", "workflow", "wagle", "config", "profiles", "environment.yml"]

MY_SCORE = '''"""Weights that point the same way as the forget gradient."""

NEEDS = ("forget",)
SELECT = "global"


def score(weight, forget, *, power=1.0):
    return (weight * forget).clamp_min(0) ** power
'''
MY_OBJECTIVE = '''"""Gradient ascent alone: no retain term."""

FORGET_LABELS = "answer"
NEEDS = ()


def loss(forget, retain):
    return -forget.mean, 0 * retain.mean
'''


MY_CURVATURE = '''"""The squared gradient of all rows together: too small where rows disagree."""


def diagonal(loss, *, scale=1.0):
    gradients = loss.gradient().by_name
    return {name: scale * gradient.square() for name, gradient in gradients.items()}
'''
MY_BUDGET = '''"""Later layers get more: in proportion to the layer's number, counted from 1."""

from wagle.attribution.apportionment import apportion


def counts(tensors, k, *, slope=1.0):
    places = [0 if tensor.layer is None else 1 + tensor.layer for tensor in tensors]
    shares = [
        tensor.size * (1 + slope * place) for tensor, place in zip(tensors, places, strict=True)
    ]
    return apportion(tensors, shares, k)
'''


def write_outside(folder):
    """The modules from outside the library that tiny() names."""
    (folder / "my_score.py").write_text(MY_SCORE)
    (folder / "my_objective.py").write_text(MY_OBJECTIVE)
    (folder / "my_curvature.py").write_text(MY_CURVATURE)
    (folder / "my_budget.py").write_text(MY_BUDGET)


def tiny(embedder):
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    train = {"epochs": 2, "batch_size": 8, "lr": 2.0e-3}
    config |= {"experiment": "tiny", "seeds": [1], "keep": ["ascent/dense/*"]}
    config["data"]["synthetic"] = {"authors_total": 4, "authors_forget": 1, "seed": 0}
    size = {"hidden_size": 16, "intermediate_size": 24, "layers": 2, "heads": 2, "vocab_size": 400}
    config["models"]["base"] |= size
    config["models"]["base"]["pretrain"] |= train
    config["models"]["finetune"] |= train
    config["selections"] = {
        "dense": {},
        "magnitude": {},
        "wanda": {},
        "lora": config["selections"]["lora"],
        "wagle": {"gamma": 1e-6},
        "mine": {"module": "my_score", "options": {"power": 2.0}},
        "curved": {
            "module": "wagle.scores.curvature",
            "curvature": "mine",
            "budget": {"module": "my_budget", "options": {"slope": 2.0}},
        },
    }
    config["curvatures"] = {"mine": {"module": "my_curvature", "options": {"scale": 2.0}}}
    method = {"lr": 1.0e-3, "epochs": 1, "weight_decay": 0.1, "ratio": 0.5}
    config["methods"] = {
        "npo": dict(method),
        "po": dict(method),
        "ascent": method | {"module": "my_objective"},
    }
    config["evaluation"]["protocols"] = ["wagle", "tofu"]
    config["evaluation"]["generation"] = {"max_new_tokens": 4, "token_budget": 8192}
    config["evaluation"]["embedder"] = {"source": "path", "path": str(embedder)}
    config["figures"] = {
        "sparsity_sweep": {"method": "npo", "selection": "wanda", "ratios": [0.25, 0.5]},
        "ratio_sweep": {"selection": "wagle", "ratios": [0.5, 0.9]},
        "gamma_sweep": {"method": "npo", "selection": "wagle", "gammas": [1.0e-6, 1.0e2]},
        "density_module": {"selections": ["wagle", "magnitude"], "ratio": 0.5},
        "density_layer": {"selections": ["wagle", "magnitude"], "ratio": 0.5},
    }
    config["examples"] = {"rows": 1, "selections": ["dense"]}
    return config


def make_embedder(folder, tokenizer):
    """A random sentence-embedding model in the format that sentence-transformers reads."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules as parts
    from transformers import BertConfig, BertModel

    size = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
    }
    BertModel(BertConfig(vocab_size=len(tokenizer), pad_token_id=2, **size)).save_pretrained(
        folder / "bert"
    )
    tokenizer.save_pretrained(folder / "bert")
    words = parts.Transformer(str(folder / "bert"), max_seq_length=64)
    SentenceTransformer(modules=[words, parts.Pooling(8)], device="cpu").save(str(folder / "model"))
    return folder / "model"


@pytest.fixture(scope="module")
def embedder(tmp_path_factory, _tiny):
    return make_embedder(tmp_path_factory.mktemp("embedder"), _tiny[1])


class Project:
    """A copy of the project with one finished experiment."""

    def __init__(self, folder, config):
        self.folder, self.config = folder, config
        for part in PARTS:
            source = ROOT / part
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, folder / part)
        write_outside(folder)
        self.write(config)
        self.results = folder / "results" / "tiny"

    def write(self, config):
        (self.folder / "tiny.yaml").write_text(yaml.safe_dump(config, sort_keys=False))

    def snakemake(self, *arguments, config="tiny.yaml", **variables):
        env = {k: v for k, v in os.environ.items() if not k.startswith("WAGLE_")}
        env |= {"PYTHONPATH": str(self.folder)} | variables
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--cores",
            "2",
            "--configfile",
            config,
            *arguments,
        ]
        done = subprocess.run(
            command, cwd=self.folder, env=env, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def planned(self):
        """{(rule, wildcards as text)} of the jobs that a run would start now."""
        code, text = self.snakemake("--dry-run", "--nolock")
        assert code == 0, text[-3000:]
        jobs, rule = set(), None
        for line in text.splitlines():  # jobs of a group are indented
            if match := re.fullmatch(r"\s*(?:local)?rule (\w+):", line):
                rule = match.group(1)
                jobs.add((rule, ""))
            elif rule and (match := re.fullmatch(r"\s+wildcards: (.*)", line)):
                jobs = jobs - {(rule, "")} | {(rule, match.group(1))}
            elif not line.strip():
                rule = None
        assert jobs or "Nothing to be done" in text, text[-3000:]
        return jobs - {("all", "")}


@pytest.fixture(scope="module")
def project(tmp_path_factory, embedder):
    made = Project(tmp_path_factory.mktemp("project"), tiny(embedder))
    code, text = made.snakemake()
    assert code == 0, text[-6000:]
    return made


def test_everything_comes_out(project):
    for protocol in ("wagle", "tofu"):
        for suffix in (".csv", "_long.csv", ".md", ".tex"):
            assert (
                project.results / f"tables/table1/{protocol}/table1{suffix}"
            ).stat().st_size > 100
    for figure in (
        "sparsity_sweep",
        "ratio_sweep",
        "gamma_sweep",
        "density_module",
        "density_layer",
    ):
        for kind in ("pdf", "svg", "png", "csv"):
            assert (project.results / f"figures/{figure}/{figure}.{kind}").stat().st_size > 50
    page = (project.results / "report/report.html").read_text()
    assert (
        page.count("<svg") == 5
        and page.count("<table")
        == 2 * 2 + 2 + 2  # per protocol: the table and the published cells; claims, times; examples
        and "http" not in re.sub(r"http://www\.w3\.org|http://purl", "", page)[:2000]
    )


def test_metrics_table_has_every_cell_and_protocol(project):
    frame = pd.read_csv(project.results / "collected/metrics.csv")
    expected = [
        "experiment",
        "task",
        "method",
        "selection",
        "ratio",
        "gamma",
        "seed",
        "protocol",
        "metric",
        "value",
    ]
    assert list(frame.columns)[:10] == expected
    cells = frame[["method", "selection", "ratio", "seed"]].drop_duplicates()
    assert (
        len(cells) == 2 + 3 * 7 + 1 + 3
    )  # baselines, table, sparsity 0.25, ratio 0.9 for each method; gamma is not a key here
    assert set(frame["protocol"]) == {"wagle", "tofu"}
    assert frame["value"].notna().all() and (frame["n"] > 0).all()


def test_masks_records_and_checkpoints(project):
    header = masks.read_header(
        project.results / "masks/wagle@gamma-1e-06/seed-1/ratio-0.5/mask.safetensors"
    )
    scores = project.results / "scores/wagle@gamma-1e-06/seed-1"
    assert (
        header["k"] == round(0.5 * header["n"])
        and header["selection"] == "wagle"
        and header["gamma"] == "1e-06"
    )
    assert header["scores_sha256"] == sha256_file(scores / "scores.safetensors")
    assert header["model_sha256"] == sha256_file(
        project.results / "models/target/checkpoint/model.safetensors"
    )
    for name, share in (
        ("npo/wagle@gamma-1e-06/ratio-0.5/seed-1", 0.5),
        ("po/lora/ratio-all/seed-1", None),
    ):
        moved = json.loads((project.results / f"unlearned/{name}/moved.json").read_text())
        assert moved["frozen_moved"] == 0 and moved["share_moved"] > 0.01
        assert share is None or moved["selected"] == header["k"]
        assert not (project.results / f"unlearned/{name}/checkpoint").exists()  # temporary
    assert (
        project.results / "unlearned/ascent/dense/ratio-all/seed-1/checkpoint/model.safetensors"
    ).exists()  # kept
    manifests = list(project.results.rglob("manifest.json"))
    for path in manifests:
        for name, digest in read_manifest(path)["inputs"].items():
            if name.endswith("manifest.json"):
                assert sha256_file(path.parent / name) == digest, f"{path} -> {name}"
    assert len(manifests) > 60


def test_snakemakes_report_holds_tables_figures_claims_and_the_page(project):
    code, text = project.snakemake("--report", "report.zip")
    assert code == 0, text[-3000:]
    with zipfile.ZipFile(project.folder / "report.zip") as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist()}
        page = archive.read("report/report.html").decode()
    expected = {"table1.csv", "table1_published.csv", "table4.csv", "claims.csv", "examples.csv"}
    assert names >= expected | {"report.html", "sparsity_sweep.svg", "density_layer.svg"}
    assert "This is experiment\\n<strong>tiny</strong>" in page and "(Fig. A2)" in page


def test_nothing_to_do_afterwards(project):
    assert project.planned() == set()


def test_a_protocol_with_its_own_template_has_its_own_log(project):
    """One more evaluation per template, and only where the config asks for one."""
    from wagle.evaluation import protocols, scoring
    from wagle.experiment import templates

    closed = "[INST] {question} [/INST]{answer}"
    before = json.loads((project.results / "metrics/original/metrics.json").read_text())
    config = json.loads(json.dumps(project.config)) | {"experiment": "templates"}
    config["evaluation"]["templates"] = {"tofu": closed}
    folder = project.folder / "results" / "templates"
    try:
        project.write(config)
        shutil.copytree(project.results, folder, ignore=shutil.ignore_patterns("metrics"))
        code, text = project.snakemake("--", "results/templates/metrics/original/metrics.json")
        assert code == 0, text[-4000:]
    finally:
        project.write(project.config)
    own, key = config["template"], templates.template_id(closed)
    logs = {
        text: [folder / where / cell for cell in ("original", "retrained")]
        for text, where in ((own, "evaluations"), (closed, f"evaluations/{key}"))
    }
    for text, places in logs.items():
        assert [scoring.log_template(place / "tokens.parquet") for place in places] == [text] * 2
    assert not (folder / "evaluations" / key / "candidates").exists()
    found = json.loads((folder / "metrics/original/metrics.json").read_text())
    assert set(found) == set(before) == {"wagle", "tofu"}
    assert found["wagle"] == before["wagle"] and found["tofu"] != before["tofu"]
    scores = [scoring.read_log(place / "tokens.parquet", closed) for place in logs[closed]]
    lines = (logs[closed][0] / "generations.jsonl").read_text().splitlines()
    expected = protocols.evaluate("tofu", scores[0], list(map(json.loads, lines)), scores[1])
    for name, entry in protocols.without_rows(expected).items():
        assert found["tofu"][name] == pytest.approx(entry), name


CELL = re.compile(r"cell=([^,]*)")


def rules(jobs):
    return {rule for rule, _ in jobs}


def cells(jobs, rule="unlearn"):
    return {
        CELL.search(what).group(1)
        for name, what in jobs
        if name.startswith(rule) and CELL.search(what)
    }


SUMMARY = {"collect", "table", "figure", "claims", "report"}
REDONE = {"unlearn", "evaluate", "metrics", "timing", *SUMMARY}  # cells run again
RESCORED = {"score", "mask", *REDONE}


def edit(path, old, new):
    def apply(project):
        file = project.folder / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    return apply


def configure(change):
    def apply(project):
        config = json.loads(json.dumps(project.config))
        change(config)
        project.write(config)

    return apply


def on(selection):
    return lambda cell: f"/{selection}" in cell


# what is changed, which rules run, which cells are unlearned anew (a predicate on the cell's id)
CHANGES = {
    "comment": (edit("wagle/scores/wanda.py", "NEEDS =", "# a comment\nNEEDS ="), set(), None),
    "docstring": (edit("wagle/attribution/topk.py", "Exact top-k", "The exact top-k"), set(), None),
    "touch": (lambda p: os.utime(p.folder / "wagle/evaluation/scoring.py"), set(), None),
    "key order": (lambda p: p.write({k: p.config[k] for k in sorted(p.config)}), set(), None),
    "resources": (configure(lambda c: c["resources"]["minutes"].update(unlearn=99)), set(), None),
    "GPUs": (
        configure(lambda c: c["resources"].update(training_gpus=2, gpu_stages=["unlearn"])),
        set(),
        None,
    ),
    "a score's code": (
        edit("wagle/scores/wanda.py", "weight.abs() * activations", "activations * weight.abs()"),
        RESCORED,
        on("wanda"),
    ),
    "an outside score's code": (
        edit("my_score.py", "clamp_min(0)", "clamp_min(0.0)"),
        RESCORED,
        on("mine"),
    ),
    "an estimator's code": (
        edit("my_curvature.py", "gradient.square()", "gradient * gradient"),
        {"curvature", *RESCORED},
        on("curved"),
    ),
    "an estimator's option": (
        configure(lambda c: c["curvatures"]["mine"]["options"].update(scale=3.0)),
        {"curvature", *RESCORED},
        on("curved"),
    ),
    "an estimator that no selection reads": (
        edit("wagle/curvatures/gnb.py", "draws=1", "draws=2"),
        set(),
        None,
    ),
    "what shares a curvature": (
        configure(lambda c: c["selections"]["curved"].update(curvature_per="layer")),
        RESCORED,
        on("curved"),
    ),
    "a budget rule's code": (
        edit("my_budget.py", "1 + slope", "1.0 + slope"),
        {"mask", *REDONE},
        on("curved"),
    ),
    "a budget rule's option": (
        configure(lambda c: c["selections"]["curved"]["budget"]["options"].update(slope=3.0)),
        {"mask", *REDONE},
        on("curved"),
    ),
    "a method's code": (
        edit("wagle/objectives/npo.py", "-(2 / beta)", "-(2.0 / beta)"),
        REDONE | {"examples"},
        lambda cell: cell.startswith("npo/"),
    ),
    "top-k": (
        edit("wagle/attribution/topk.py", "WORDS = 1 << 15", "WORDS = 2**15"),
        RESCORED,
        lambda cell: "/dense" not in cell and "/lora" not in cell,
    ),
    "a metric": (
        edit("wagle/evaluation/row_statistics.py", "draws: int = 200", "draws: int = 100"),
        {"metrics", *SUMMARY},
        None,
    ),
    "a metric's formula": (
        edit("wagle/evaluation/metrics.py", "1 - p if sense", "1.0 - p if sense"),
        {"metrics", *SUMMARY},
        None,
    ),
    "a shared module": (
        edit(
            "wagle/data/encoding.py",
            "number, row in enumerate(rows)",
            "number, row in enumerate(rows, 0)",
        ),
        {
            *("base", "finetune", "gradients", "curvature", "activations", "candidates"),
            *("examples", *RESCORED),
        },
        lambda cell: True,
    ),
    "a claim": (  # another task's
        edit("wagle/assets/claims.yaml", "dense}, tolerance: -0.01", "dense}, tolerance: -0.02"),
        set(),
        None,
    ),
    "a claim of this task": (
        edit("wagle/assets/claims.yaml", "level: 0.95", "level: 0.9"),
        {"claims", "report"},
        None,
    ),
    "a published cell": (
        edit(
            "wagle/assets/published/table1-tofu.csv", "npo,wagle,FQ,,", "npo,wagle,FQ,0.5,a source"
        ),
        {"table", "report"},
        None,
    ),
    "more examples": (
        configure(lambda c: c["examples"].update(rows=2)),
        {"examples", "report"},
        None,
    ),
    "a method's precision": (
        configure(lambda c: c["methods"]["po"].update(precision="bf16")),
        REDONE | {"examples"},
        lambda c: c.startswith("po/"),
    ),
    "a figure's style": (
        edit("wagle/reporting/plots.py", '"font.size": 13', '"font.size": 14'),
        {"figure", "report"},
        None,
    ),
    "the report's template": (
        edit("wagle/assets/report.html.j2", "<h2>Figures", "<h2>All figures"),
        {"report"},
        None,
    ),
    "learning rate of a method": (
        configure(lambda c: c["methods"]["po"].update(lr=2.0e-3)),
        REDONE | {"examples"},
        lambda cell: cell.startswith("po/"),
    ),
    "an override of a pair": (
        configure(lambda c: c["methods"]["npo"].update(overrides={"dense": {"lr": 2.0e-3}})),
        REDONE | {"examples"},
        lambda cell: cell.startswith("npo/dense"),
    ),
    "a pair's ratio": (
        configure(lambda c: c["methods"]["po"].update(overrides={"wagle": {"ratio": 0.7}})),
        {"mask", *REDONE},
        lambda cell: cell == "po/wagle@gamma-1e-06/ratio-0.7/seed-1",
    ),
    "an override that says what the method says": (
        configure(lambda c: c["methods"]["npo"].update(overrides={"dense": {"lr": 1.0e-3}})),
        set(),
        None,
    ),
    "labels of a method's masks": (
        configure(lambda c: c["methods"]["po"].update(forget_labels="refusal")),
        {"gradients", *RESCORED},
        lambda cell: cell.startswith(("po/wagle", "po/mine", "po/curved")),
    ),
    "a habit of training": (
        configure(lambda c: c["methods"]["npo"].update(official=["retain-draws"])),
        {"gradients", "curvature", "examples", *RESCORED},
        lambda cell: cell.startswith("npo/"),
    ),
    "a habit of masks": (
        configure(lambda c: c["methods"]["npo"].update(official=["gradient-scale"])),
        {"gradients", *RESCORED},
        lambda cell: cell.startswith(("npo/wagle", "npo/mine", "npo/curved")),
    ),
    "a habit of weight decay": (
        configure(lambda c: c.update(official=["frozen-decay"])),
        REDONE | {"examples"},
        lambda cell: True,
    ),
    "lora's rank": (
        configure(lambda c: c["selections"]["lora"].update(r=4)),
        REDONE,
        on("lora"),
    ),
    "gamma": (
        configure(lambda c: c["selections"]["wagle"].update(gamma=1e-3)),
        RESCORED,
        on("wagle@gamma-0.001"),
    ),
    "calibration samples": (
        configure(lambda c: c["attribution"].update(calibration_samples=3)),
        {"activations", *RESCORED},
        on("wanda"),
    ),
    "a new ratio": (
        configure(lambda c: c["figures"]["ratio_sweep"]["ratios"].append(0.7)),
        REDONE - {"timing"} | {"mask"},
        on("wagle@gamma-1e-06/ratio-0.7"),
    ),
    "a removed ratio": (
        configure(lambda c: c["figures"]["ratio_sweep"]["ratios"].remove(0.9)),
        SUMMARY,
        None,
    ),
    "a new seed": (
        configure(lambda c: c["seeds"].append(2)),
        {"gradients", "curvature", "activations", *RESCORED},
        lambda cell: cell.endswith("seed-2"),
    ),
    "a new method": (
        configure(lambda c: c["methods"].update(graddiff=c["methods"]["npo"])),
        REDONE | {"examples"},
        lambda cell: cell.startswith("graddiff/"),
    ),
    "a removed method": (
        configure(lambda c: c["methods"].pop("po")),
        SUMMARY | {"timing", "examples"},
        None,
    ),
    "a new protocol": (
        configure(lambda c: c["evaluation"]["protocols"].append("open-unlearning")),
        {"metrics", *SUMMARY},
        None,
    ),
    "the base model": (
        configure(lambda c: c["models"]["base"].update(seed=1)),
        {"base", "finetune", "gradients", "curvature", "activations", "examples", *RESCORED},
        lambda cell: True,
    ),
    "an edited artifact": (
        edit("results/tiny/metrics/original/metrics.json", '"value"', '"value "'),
        SUMMARY,
        None,
    ),
    "a deleted table": (
        lambda p: (p.results / "tables/table1/wagle/table1.md").unlink(),
        {"table", "report"},
        None,
    ),
    # nothing asks for it: everything made from it is whole and recorded
    "a deleted mask": (
        lambda p: (p.results / "masks/magnitude/all/ratio-0.5/mask.safetensors").unlink(),
        set(),
        None,
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_reruns_what_it_touches_and_nothing_else(project, name):
    change, expected, chosen = CHANGES[name]
    saved = {}
    for part in [
        *PARTS,
        "my_score.py",
        "my_objective.py",
        "my_curvature.py",
        "my_budget.py",
        "tiny.yaml",
        "results/tiny/metrics/original",
        "results/tiny/masks/magnitude",
        "results/tiny/tables",
    ]:
        path = project.folder / part
        for file in path.rglob("*") if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                saved[file] = (file.read_bytes(), file.stat())
    try:
        change(project)
        jobs = project.planned()
    finally:
        for file, (content, stat) in saved.items():
            if not file.exists() or file.read_bytes() != content:
                file.write_bytes(content)
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert rules(jobs) - {"unlearn_and_keep"} == expected - {"unlearn_and_keep"}
    if chosen:
        found = cells(jobs)
        assert found and all(map(chosen, found))
        assert cells(jobs, "evaluate") - {"original", "retrained"} == found


def test_a_changed_data_row_reruns_what_was_made_from_it(project, tmp_path):
    """With files as the source, each change has its own consequence.

    A perturbed answer re-evaluates the models that are there. A retain row starts from the base
    model, whose tokenizer saw it. A row that fits no other stops the run.
    """
    from wagle.data.rows import read_rows, write_rows

    folder = tmp_path / "data"
    folder.mkdir()
    for role in project.config["data"]["splits"]:
        shutil.copy2(project.results / "data" / role / "rows.jsonl", folder / f"{role}.jsonl")
    config = json.loads(json.dumps(project.config)) | {
        "experiment": "filed",
        "data_dir": str(folder),
        "keep": ["npo/*"],
    }
    config["data"] = {
        "source": "files",
        "splits": {role: {"name": role} for role in config["data"]["splits"]},
    }
    config["selections"] = {"wagle": config["selections"]["wagle"]}
    config["methods"] = {"npo": config["methods"]["npo"]}
    config["evaluation"]["protocols"] = ["wagle"]
    config["figures"] = {"density_module": {"selections": ["wagle"], "ratio": 0.5}}
    config["examples"] = {"rows": 1, "selections": ["wagle"]}

    def change(edit, *roles):
        for role in roles:
            rows = read_rows(folder / f"{role}.jsonl")
            edit(rows[0])
            write_rows(folder / f"{role}.jsonl", rows)

    project.write(config)
    try:
        code, text = project.snakemake()
        assert code == 0, text[-3000:]
        made = {"base", "finetune", "gradients", "score", "mask", "unlearn_and_keep"}
        change(
            lambda row: row["perturbed_answer"].__setitem__(0, "Something else."),
            "retain_perturbed",
        )
        jobs = project.planned()
        assert {job for job in jobs if job[0] == "split"} == {("split", "role=retain_perturbed")}
        assert {"evaluate", "metrics"} <= rules(jobs) and not made & rules(jobs)
        code, text = project.snakemake()
        assert code == 0 and project.planned() == set(), text[-3000:]
        change(lambda row: row.update(answer="It was Rome."), "retain", "retain_perturbed")
        jobs = project.planned()
        assert {job for job in jobs if job[0] == "split"} == {
            ("split", "role=retain"),
            ("split", "role=retain_perturbed"),
        }
        assert made | {"evaluate", "metrics"} <= rules(jobs)
        change(lambda row: row.update(question=row["question"] + " Really?"), "retain_perturbed")
        base = project.folder / "results/filed/models/base/manifest.json"
        before = base.stat().st_mtime_ns, base.read_bytes()
        code, text = project.snakemake()
        assert code != 0 and "does not match any question" in text and "Traceback" not in text
        assert (
            base.stat().st_mtime_ns,
            base.read_bytes(),
        ) == before  # the changed retain row would have made it anew
    finally:
        project.write(project.config)


def test_training_is_given_several_gpus_but_lora_and_the_other_stages_one(project):
    stages = {
        "gpu": 1,
        "training_gpus": 3,
        "gpu_stages": ["finetune", "gradients", "unlearn", "evaluate"],
    }
    project.write(project.config | {"resources": project.config["resources"] | stages})
    try:
        code, text = project.snakemake("--dry-run", "--nolock", "--forceall")
        refused, reason = project.snakemake("--dry-run", "--nolock", "--resources", "gpu=2")
    finally:
        project.write(project.config)
    assert refused and "A training job asks for 3 GPUs, this run allows 2" in reason
    assert code == 0, text[-3000:]
    found = set()
    for job in re.split(r"\n\s*\n", text):
        rule, gpus = re.search(r"rule (\w+):", job), re.search(r"resources: .*\bgpu=(\d+)", job)
        if rule and gpus:
            lora = "/lora/" in job and rule.group(1).startswith("unlearn")
            found.add((rule.group(1), lora, int(gpus.group(1))))
    several = {("finetune", False, 3), ("unlearn", False, 3), ("unlearn_and_keep", False, 3)}
    assert found == several | {("unlearn", True, 1)} | {
        (rule, False, 1) for rule in ("base", "gradients", "curvature", "activations", "evaluate")
    }


def test_the_papers_grid_plans_whole(project):
    """3 methods x 6 selections x 6 seeds, the sweeps' further cells, and every protocol's table."""
    code, text = project.snakemake(
        "--dry-run", "--nolock", "--quiet", "rules", config="config/paper-tofu.yaml"
    )
    assert code == 0, text[-3000:]
    counts = {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", text, re.M)}
    # Wanda ratios other than NPO's, WAGLE ratios other than each method's, and PO's other gammas
    sweep = 5 * 6 + 3 * 3 * 6 + 5 * 6
    assert counts["unlearn"] == 3 * 6 * 6 + sweep
    assert counts["evaluate"] == counts["metrics"] == counts["unlearn"] + 2
    assert counts["finetune"] == 2 and counts["table"] == 4 and counts["figure"] == 5


def test_an_edit_during_a_run_stops_its_jobs(project):
    """A job inherits the run's fingerprint; with another config or code it refuses to plan."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("WAGLE_")}
    env |= {"PYTHONPATH": str(project.folder), "WAGLE_FINGERPRINT": "tiny=" + "0" * 64}
    command = [sys.executable, "-m", "snakemake", "-n", "--configfile", "tiny.yaml"]
    done = subprocess.run(
        command, cwd=project.folder, env=env, capture_output=True, text=True, check=False
    )
    assert (
        done.returncode != 0 and "changed while this run was under way" in done.stdout + done.stderr
    )


def test_a_typo_is_named_before_anything_runs(project):
    config = json.loads(json.dumps(project.config))
    config["unlearning"]["cilp"] = 1.0
    project.write(config)
    try:
        code, text = project.snakemake("-n")
    finally:
        project.write(project.config)
    assert code != 0 and "unknown key 'cilp' at unlearning (did you mean 'clip'?)" in text


def test_a_swapped_checkpoint_is_noticed(project):
    """A changed byte in the target model: no job that reads it takes it."""
    path = project.results / "models/target/checkpoint/model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    original = path.read_bytes()
    stat = path.stat()
    try:
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        code, text = project.snakemake("--forcerun", "gradients", "--until", "gradients")
    finally:
        path.write_bytes(original)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert code != 0 and "is not what" in text


def suite(project, task):
    """A small experiment of another task, on made-up text and a few questions."""
    from wagle.data.rows import write_rows

    folder = project.folder / "questions"
    folder.mkdir(exist_ok=True)
    asked = [
        {
            "question": f"Which of {i}?",
            "choices": ["one", "two", "three", "four"],
            "answer": i % 4,
            "subject": "law",
        }
        for i in range(8)
    ]
    write_rows(folder / "asked.jsonl", asked)
    lines = ["", " = One = \n", "", " A city of many bridges . \n", " = Two = \n", " A mill . \n"]
    write_rows(folder / "lines.jsonl", [{"text": line} for line in lines])
    config = json.loads(json.dumps(project.config)) | {
        "experiment": task,
        "task": task,
        "data_dir": str(folder),
        "keep": [],
    }
    story = {"source": "synthetic", "name": "book", "form": "packed", "words": 24}
    passages = story | {"form": "completion", "prompt_words": 8}
    questions = {role: {"name": "asked"} for role in ("wmdp_bio", "wmdp_cyber", "mmlu")}
    quiz = {"name": "asked", "form": "quiz", "task": "mmlu"}
    splits = {
        "wmdp": {
            "forget": story | {"rows": [0, 8]},
            "retain": story | {"rows": [8, 16]},
            "quiz": quiz,
            **questions,
        },
        "whp": {
            "forget": passages | {"rows": [0, 8]},
            "seen": passages | {"rows": [0, 4]},
            "unseen": passages | {"rows": [8, 12]},
            "book": story | {"rows": [0, 12]},
            "retain": story | {"rows": [12, 20]},
            "wikitext": {"name": "lines"},
            "quiz": quiz,
            "mmlu": questions["mmlu"],
            "refusals": {"source": "synthetic"},
        },
        "detox": {
            "forget": {"source": "synthetic", "name": "rude", "rows": [0, 8]},
            "retain": story | {"rows": [0, 8]},
            "wikitext": {"name": "lines"},
            "quiz": quiz,
            "mmlu": questions["mmlu"],
        }
        | {
            role: {"source": "synthetic"}
            for role in ("real_toxicity", "safe_rlhf", "toxicity_labels", "refusals")
        },
    }[task]
    config["data"] = {"source": "files", "synthetic": {"seed": 0}, "splits": splits}
    config["models"]["base"]["corpus"] = ["forget", "retain"]
    config["models"]["base"]["pretrain"]["roles"] = ["retain"]
    config["models"]["finetune"]["replay"] = ["quiz"]
    if task == "whp":
        config["models"]["target"]["roles"] = ["book", "retain"]
    config["selections"] = {"dense": {}, "wagle": {"gamma": 1e-6}}
    method = {"lr": 1.0e-3, "epochs": 1, "weight_decay": 0.0, "ratio": 0.5}
    config["methods"] = {"graddiff": method} if task == "wmdp" else {"po": method}
    roles = {
        "wmdp": ["wmdp_bio"],
        "whp": ["seen", "unseen"],
        "detox": ["real_toxicity", "safe_rlhf"],
    }[task]
    local = [role for role in (*questions, "wikitext") if role in splits]
    evaluation = {
        "protocols": ["wagle"],
        "harness": {"local": local, "hub": [], "limit": None, "batch_size": 8, "precision": "fp32"},
        "generation": {"max_new_tokens": 4, "token_budget": 8192, "roles": roles, "rows": 2},
    }
    if task == "detox":
        evaluation |= {
            "classifier": {"source": "probe"},
            "embedder": config["evaluation"]["embedder"],
        }
    config["evaluation"] = evaluation
    config["figures"] = {"density_module": {"selections": ["wagle"], "ratio": 0.5}}
    if task == "whp":
        config["figures"]["gamma_sweep"] = {"selection": "wagle", "gammas": [1e-6, 1e4]}
    return config


@pytest.mark.pipeline
@pytest.mark.parametrize(
    ("task", "table"), [("wmdp", "table2"), ("whp", "table3"), ("detox", "table3")]
)
def test_other_tasks_from_data_to_report(project, task, table):
    project.write(suite(project, task))
    try:
        code, text = project.snakemake()
        assert code == 0, text[-6000:]
        assert project.planned() == set()
    finally:
        project.write(project.config)
    folder = project.folder / "results" / task
    frame = pd.read_csv(folder / f"tables/{table}/wagle/{table}.csv")
    assert list(frame["method"].unique()) == [
        "original",
        "retrained",
        "graddiff" if task == "wmdp" else "po",
    ]
    utility = {"wmdp": "MMLU"}.get(task, "zero-shot Acc")
    assert frame[["UE Avg", utility]].notna().all().all() and frame["UE Avg"].between(0, 1).all()
    if task != "wmdp":
        assert (frame["WikiText PPL"] > 1).all() and frame["TruthfulQA"].isna().all()
    verdicts = pd.read_csv(folder / "tables/claims/claims.csv")
    known = {"reproduced", "not reproduced", "undecided", "not tested"}
    bare = verdicts["verdict"].str.removesuffix(" (baselines not tuned)")
    assert set(bare.str.partition(":")[0]) <= known and len(verdicts) == 1
    answers = pd.read_csv(folder / "tables/examples/examples.csv")
    assert (
        set(answers["model"]) >= {"Original", "Retrained"}
        and (folder / "report/report.html").stat().st_size > 1000
    )


MY_TASK = '''"""Short answers: how few words a model says."""

from wagle.experiment.tasks import Task

TASK = Task(
    title="Short answers",
    table="brevity",
    layouts={"wagle": {"Efficacy": ["brevity", "UE Avg"], "Utility": ["MMLU"]}},
    utility="MMLU",
    utility_label="MMLU accuracy",
    evaluation=("harness",),
)


def metrics(logs, protocol):
    from wagle.evaluation import suites

    words = [len(entry["generated"].split()) for entry in logs["generations"]]
    result = {"brevity": suites.mean([1 / (1 + count) for count in words])}
    result["MMLU"] = suites.harness_accuracies(logs["benchmarks"])["mmlu"]
    return suites.with_efficacy_average(result, ["brevity"])
'''
MY_FIGURE = '''"""Brevity of each method, as bars."""

from wagle.experiment import grid
from wagle.experiment.sweeps import METRICS, metric_params

CAPTION = "Brevity by method."
SIZE = (5, 3)


def cells(config, options):
    return grid.table_cells(config)


def inputs(config, options):
    return METRICS


def params(config, options):
    return metric_params(config, options, cells(config, options))


def table(files, params):
    from wagle.reporting import tables

    frame = tables.of_cells(tables.read_metrics(files["metrics"][0]), params["cells"])
    rows = frame[frame["metric"] == "brevity"]
    return rows.groupby("method", sort=False)["value"].mean().reset_index()


def draw(figure, data, params):
    axes = figure.subplots()
    axes.bar(data["method"], data["value"], color=params["colour"])
'''


def test_a_task_a_figure_a_score_and_a_method_from_outside_are_one_file_each(project):
    config = suite(project, "wmdp") | {"experiment": "outside", "task": "my_task"}
    config["selections"] = {"dense": {}, "mine": {"module": "my_score"}}
    config["methods"] = {"ascent": config["methods"]["graddiff"] | {"module": "my_objective"}}
    config["figures"] = {"bars": {"module": "my_figure", "colour": "#0072B2"}}
    config["examples"] = {"rows": 1, "selections": ["mine"]}
    (project.folder / "my_task.py").write_text(MY_TASK)
    (project.folder / "my_figure.py").write_text(MY_FIGURE)
    project.write(config)
    results = project.folder / "results" / "outside"
    try:
        code, text = project.snakemake()
        assert code == 0, text[-6000:]
        assert project.planned() == set()
        figure = project.folder / "my_figure.py"
        figure.write_text(MY_FIGURE.replace("SIZE = (5, 3)", "SIZE = (6, 3)"))
        assert rules(project.planned()) == {"figure", "report"}
        (project.folder / "my_task.py").write_text(MY_TASK.replace("1 + count", "2 + count"))
        redone = {"metrics", "collect", "table", "claims", "figure", "report"}
        assert rules(project.planned()) == redone
    finally:
        project.write(project.config)
    frame = pd.read_csv(results / "tables/brevity/wagle/brevity.csv")
    assert frame["brevity"].between(0, 1).all() and set(frame["selection"].dropna()) == {
        "dense",
        "mine",
    }
    data = pd.read_csv(results / "figures/bars/bars.csv")
    assert list(data["method"]) == ["original", "retrained", "ascent"]
    page = (results / "report/report.html").read_text()
    assert "Short answers" in page and "Brevity by method." in page and page.count("<svg") == 1
