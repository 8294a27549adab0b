"""Four families through Snakemake, in one run: each is a module of one workflow.

They are those with the most differences from a Llama: transposed weights (GPT-2), other names on
disk and fused attention (GPT-NeoX), experts (Qwen2-MoE), no attention at all (Mamba).
"""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest
import small
import yaml
from test_families import published
from test_workflow import make_embedder
from tiny_families import FAMILIES

from wagle.attribution import masks, topk
from wagle.model import tensors
from wagle.runtime.identity import ROOT

pytestmark = pytest.mark.pipeline
NAMES = ("GPT-2", "GPT-NeoX", "Qwen2-MoE", "Mamba")
CELLS = {
    "wanda": "npo/wanda/ratio-0.5/seed-1",
    "wagle": "npo/wagle@gamma-0.001/ratio-0.5/seed-1",
    "lora": "npo/lora/ratio-all/seed-1",
}
TARGETS = (
    *(f"unlearned/{cell}/moved.json" for cell in CELLS.values()),
    f"metrics/{CELLS['wagle']}/metrics.json",
    "figures/density_module/density_module.csv",
)
MODULE = """
with open("{key}.yaml") as file:
    config_{key} = yaml.safe_load(file)


module {key}:
    snakefile:
        "{root}/Snakefile"
    config:
        config_{key}


use rule * from {key} as {key}_*
"""


def experiment(name, model, embedder):
    config = small.config(embedder)
    train = {"batch_size": 12, "epochs": 1, "token_budget": 8000}
    config |= {"experiment": name, "keep": ["*"]}
    del config["examples"]
    config["models"]["base"] = {"source": "path", "path": str(model)}
    config["models"]["finetune"] |= train | {"replay": []}
    config["selections"] = {
        "wanda": {},
        "wagle": {"gamma": 1e-3},
        "lora": {"r": 2, "alpha": 4, "dropout": 0.0},
    }
    config["evaluation"]["generation"]["max_new_tokens"] = 2
    config["figures"] = {"density_module": {"selections": ["wanda", "wagle"], "ratio": 0.5}}
    return config


@pytest.fixture(scope="module")
def results(tmp_path_factory, _tiny):
    folder = tmp_path_factory.mktemp("families")
    embedder = make_embedder(folder, _tiny[1])
    lines = ["import yaml\n"]
    keys = {}
    for family in FAMILIES:
        if family.name in NAMES:
            key = keys[family.name] = family.name.lower().replace("-", "_")
            model = published(family, _tiny[1], folder / f"model-{key}")
            config = experiment(key, model, embedder)
            (folder / f"{key}.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
            lines.append(MODULE.format(key=key, root=ROOT))
    lines.append("rule all:\n    default_target: True\n    input:\n")
    for key in keys.values():
        lines += [f'        "results/{key}/{target}",\n' for target in TARGETS]
    (folder / "Snakefile").write_text("".join(lines))
    env = {k: v for k, v in os.environ.items() if not k.startswith("WAGLE_")}
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2"],
        cwd=folder,
        env=env | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return {name: folder / "results" / key for name, key in keys.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_family_comes_out_of_the_workflow(results, name):
    folder = results[name]
    checkpoint = folder / "models" / "target" / "checkpoint"
    shapes = tensors.parameter_shapes(checkpoint)
    n = sum(map(tensors.elements, shapes.values()))
    [mask] = folder.glob("masks/wagle@*/*/ratio-0.5/mask.safetensors")
    assert masks.read_header(mask)["k"] == topk.budget(0.5, n)
    assert [name for name, _ in masks.load(mask)] == list(shapes)
    coverage = {
        path.parts[-3].partition("@")[0]: json.loads(path.read_text())["coverage"]
        for path in folder.glob("scores/*/*/stats.json")
    }
    assert coverage["wagle"] == 1 and 0.3 < coverage["wanda"] < 1
    moved = [json.loads(path.read_text()) for path in folder.glob("unlearned/**/moved.json")]
    assert len(moved) == 3
    assert all(record["frozen_moved"] == 0 < record["share_moved"] for record in moved)
    density = pd.read_csv(folder / "figures" / "density_module" / "density_module.csv")
    sizes = density[density["selection"] == "wagle"].set_index("group")["size"]
    assert sizes.sum() == n and sizes.get("other", 0) <= 0.05 * n
    metrics = json.loads((folder / "metrics" / CELLS["wagle"] / "metrics.json").read_text())
    assert all(0 <= metrics["wagle"][name]["value"] <= 1 for name in ("UE Avg", "UT Avg"))
