"""What a model is made of, read without its weights; and the modules that LoRA adapts."""

import copy
import json

import pytest
import torch
import yaml
from tiny_families import FAMILIES, build

from wagle.cli import main as command_line
from wagle.errors import WagleError
from wagle.experiment import config
from wagle.model import adapters, checkpoints, families, portable
from wagle.model.inspection import inspect_model
from wagle.runtime.identity import ROOT

BY_NAME = {family.name: family for family in FAMILIES}
QUICK = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


def saved(name, tokenizer, folder):
    build(BY_NAME[name], tokenizer).save_pretrained(folder)
    return str(folder)


def test_a_model_is_inspected_without_its_weights(tokenizer, tmp_path, capsys):
    folder = saved("GPT-2", tokenizer, tmp_path / "gpt2")
    (tmp_path / "gpt2" / "model.safetensors").unlink()
    inspection = inspect_model(folder)
    by_label = {kind.label: kind.weights for kind in inspection.kinds}
    assert by_label["emb"] == 400 * 32 and by_label["pos"] == 256 * 32
    assert by_label["sa qkv"] == 2 * (32 * 96 + 96) and "head" not in by_label
    assert sum(by_label.values()) == inspection.weights
    assert inspection.tied == {"lm_head.weight": "transformer.wte.weight"}
    assert inspection.row_ranked == 2 * 12 * 32 * 32
    assert inspection.lora_targets == ["c_attn"] and inspection.lora_covered == 2 * 32 * 96
    assert inspection.modules == ["c_attn", "c_fc", "c_proj"] and inspection.chat_template is None
    assert command_line.main(["inspect", folder, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    n = inspection.weights  # AdamW in fp32: weight, gradient, two moments, and a byte of mask
    assert printed["memory_bytes"]["unlearning, fp32"] == round(16.125 * n)
    assert printed["weights"] == n and printed["family"] == "gpt2"
    assert command_line.main(["inspect", folder]) == 0
    printed = capsys.readouterr().out
    assert "lm_head.weight is transformer.wte.weight" in printed and "c_attn by default" in printed


def test_a_chat_template_is_seen(tokenizer, tmp_path):
    folder = saved("Llama", tokenizer, tmp_path)
    own = copy.deepcopy(tokenizer)
    own.save_pretrained(folder)
    assert inspect_model(folder).chat_template is False
    own.chat_template = "{{ messages[0].content }}"
    own.save_pretrained(folder)
    assert inspect_model(folder).chat_template is True


@pytest.mark.parametrize("name", ["./nowhere", "no/such/folder", "nobody/nothing"])
def test_what_is_no_model_is_one_error(name, capsys, tmp_path):
    assert command_line.main(["inspect", name]) == 1
    assert capsys.readouterr().err.startswith(f"error: {name} ")
    (tmp_path / "config.json").write_text('{"model_type": "no-such-family"}')
    with pytest.raises(WagleError, match="could not be read"):
        inspect_model(str(tmp_path))


def test_labels_of_a_llama_are_the_papers(model):
    labels = {
        "model.embed_tokens.weight": "emb",
        "model.layers.0.input_layernorm.weight": "in",
        "model.layers.0.self_attn.q_proj.weight": "sa q",
        "model.layers.0.self_attn.k_proj.weight": "sa k",
        "model.layers.0.self_attn.v_proj.weight": "sa v",
        "model.layers.0.self_attn.o_proj.weight": "sa o",
        "model.layers.0.post_attention_layernorm.weight": "post",
        "model.layers.0.mlp.gate_proj.weight": "mlp gt",
        "model.layers.0.mlp.up_proj.weight": "mlp up",
        "model.layers.0.mlp.down_proj.weight": "mlp dn",
        "model.norm.weight": "ln",
        "lm_head.weight": "head",
    }
    names = [name for name, _ in model.named_parameters() if ".1." not in name]
    assert {name: families.module_of(name) for name in names} == labels
    order = [label for label in families.LABELS if label in labels.values()]
    assert order == list(labels.values())


def test_default_lora_modules_are_pefts(tokenizer):
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as PEFT

    compared = 0
    for family in FAMILIES:
        model = build(family, tokenizer)
        targets = families.default_lora_targets(name for name, _ in model.named_parameters())
        assert targets, family.name
        if model.config.model_type in PEFT:
            assert targets == sorted(PEFT[model.config.model_type]), family.name
            compared += 1
    assert compared > 8


def test_a_model_without_such_modules_gets_adapters_on_all_linear_layers(model):
    assert families.default_lora_targets(["h.0.dense.weight", "lm_head.weight"]) == []


def test_a_wrong_lora_module_is_named_before_anything_loads(tokenizer, tmp_path, model):
    folder = saved("GPT-NeoX", tokenizer, tmp_path)
    experiment = copy.deepcopy(QUICK)
    lora = experiment["selections"]["lora"]
    for spec, wrong, near, listed in (
        ({"source": "path", "path": folder}, "query_key", "query_key_value", "dense_4h_to_h"),
        (QUICK["models"]["base"], "q_porj", "q_proj", "down_proj"),
    ):
        experiment["models"]["base"] = spec
        lora["target_modules"] = [near]
        config.validate(experiment)
        lora["target_modules"] = [near, wrong]
        message = rf"selections.lora.target_modules.*'{wrong}' \(did you mean '{near}'.*{listed}"
        with pytest.raises(WagleError, match=message):
            config.validate(experiment)
    with pytest.raises(WagleError, match=r"no module 'c_attn'.*Expected: some of .*v_proj"):
        adapters.add_adapters(model, r=2, alpha=4, dropout=0.0, target_modules=["c_attn"], seed=0)


def test_lora_needs_no_module_names():
    experiment = copy.deepcopy(QUICK)
    del experiment["selections"]["lora"]["target_modules"]
    config.validate(experiment)


@pytest.mark.parametrize(
    ("name", "own", "published"),
    [
        ("GPT-NeoX", "lm_head.weight", "embed_out.weight"),
        ("Mixtral", "mlp.experts.down_proj", "block_sparse_moe.experts.0.w2.weight"),
    ],
)
def test_what_is_given_away_has_the_familys_own_names(name, own, published, tokenizer, tmp_path):
    from safetensors import safe_open

    def names():
        with safe_open(tmp_path / "model.safetensors", "pt") as file:
            return [key for key in file.keys() if key.endswith((own, published))]  # noqa: SIM118

    model = build(BY_NAME[name], tokenizer)
    checkpoints.save(model, tokenizer, tmp_path)
    assert names() and all(key.endswith(own) for key in names())
    portable.make_portable(tmp_path)
    assert names() and all(key.endswith(published) for key in names())
    again = dict(checkpoints.load(tmp_path).named_parameters())
    assert all(torch.equal(p, again[key]) for key, p in model.named_parameters())
