"""Exported models in other releases of transformers: keys in both forms, and the same logits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_families import FAMILIES, build
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from wagle.model import checkpoints
from wagle.model.portable import LEAST, OLDEST, SINCE, both_forms, make_portable

IDS = [[0, 5, 9, 30, 31, 77, 100, 101, 12, 13, 50, 60, 70, 80]]
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
ROPES = {"default": {"rope_type": "default"}, "llama3": LLAMA3}
CHAT = "{% for m in messages %}{{ m['content'] }}</s>{% endfor %}"


def export(folder, model, tokenizer, rope):
    """A model whose rotary embeddings have another base, and its logits."""
    config = model.config.to_dict() | {"rope_parameters": ROPES[rope] | {"rope_theta": 500000.0}}
    torch.manual_seed(0)
    made = LlamaForCausalLM(type(model.config)(**config)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(8 if parameter.dim() > 1 else 1)  # so that positions matter
    tokenizer.chat_template = CHAT
    checkpoints.save(made, tokenizer, folder)
    tokenizer.chat_template = None
    with torch.no_grad():
        return made(torch.tensor(IDS)).logits


@pytest.mark.parametrize("rope", ROPES)
def test_our_own_release_loads_the_same_model_from_both_forms(model, tokenizer, tmp_path, rope):
    logits = export(tmp_path, model, tokenizer, rope)
    assert make_portable(tmp_path) == "4.45"
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(again(torch.tensor(IDS)).logits, logits)
    read = AutoTokenizer.from_pretrained(tmp_path)
    text = "Who wrote Crimson Bridge?"
    assert read(text)["input_ids"] == tokenizer(text)["input_ids"] and read.chat_template == CHAT
    written = (tmp_path / "config.json").read_bytes()
    make_portable(tmp_path)  # again
    assert (tmp_path / "config.json").read_bytes() == written


def test_older_keys_by_family():
    rope = {"rope_theta": 5e5, "rope_type": "default"}
    llama = both_forms({"model_type": "llama", "dtype": "bfloat16", "rope_parameters": rope})
    assert llama["torch_dtype"] == "bfloat16" and llama["rope_theta"] == 5e5
    assert llama["rope_scaling"] is None and llama[LEAST] == "4.45"
    scaled = both_forms({"model_type": "llama", "rope_parameters": {"rope_theta": 5e5, **LLAMA3}})
    assert scaled["rope_scaling"] == LLAMA3
    neox = both_forms(
        {"model_type": "gpt_neox", "rope_parameters": rope | {"partial_rotary_factor": 0.25}}
    )
    assert neox["rotary_emb_base"] == 5e5 and neox["rotary_pct"] == 0.25
    layers = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}
    gemma = both_forms({"model_type": "gemma3_text", "rope_parameters": layers})
    assert gemma["rope_theta"] == 1e6 and gemma["rope_local_base_freq"] == 1e4
    assert gemma[LEAST] == "4.50"
    new = both_forms({"model_type": "brand_new", "transformers_version": "5.17.0"})
    assert new[LEAST] == "5.17.0" and "rope_theta" not in new


OLD = """
import json, sys, torch, transformers
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, ids, text = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
model = AutoModelForCausalLM.from_pretrained(folder).eval()
with torch.no_grad():
    logits = model(torch.tensor(ids)).logits.tolist()
try:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens, chat = tokenizer(text)["input_ids"], tokenizer.chat_template
except ValueError:
    tokens, chat = None, None
print(json.dumps([transformers.__version__, logits, tokens, chat, str(model.config.torch_dtype)]))
"""


def in_old_release(folder, text="Who?"):
    """[release, logits, tokens, chat template, dtype] of a folder as transformers 4.45 reads it."""
    packages = os.environ["WAGLE_COMPAT"]
    env = os.environ | {"PYTHONPATH": packages, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", OLD, str(folder), json.dumps(IDS), text]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.compat
@pytest.mark.parametrize("rope", ROPES)
def test_transformers_4_45_loads_the_same_model(model, tokenizer, tmp_path, rope):
    """Without the older keys it loads another model and no tokenizer: that is the fault."""
    assert Path(os.environ.get("WAGLE_COMPAT", "")).is_dir(), "run: make test-compat"
    text = "Who wrote Crimson Bridge?"
    logits = export(tmp_path, model, tokenizer, rope)
    release, other, tokens, _, _ = in_old_release(tmp_path)
    assert release.startswith("4.45.") and tokens is None
    assert (torch.tensor(other) - logits).abs().max() > 0.1
    make_portable(tmp_path)
    _, same, tokens, chat, dtype = in_old_release(tmp_path, text)
    torch.testing.assert_close(torch.tensor(same), logits, rtol=1e-4, atol=1e-4)
    assert tokens == tokenizer(text)["input_ids"] and chat == CHAT and dtype == "torch.float32"


@pytest.mark.compat
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_transformers_4_45_loads_every_family_that_it_knows(family, tokenizer, tmp_path):
    model = build(family, tokenizer)
    if SINCE.get(model.config.model_type) != OLDEST:
        pytest.skip(f"{family.name} came to transformers after {OLDEST}")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4 if parameter.dim() > 1 else 1)  # so that positions matter
        logits = model(torch.tensor(IDS)).logits
    checkpoints.save(model, tokenizer, tmp_path)
    make_portable(tmp_path)
    _, same, _, _, _ = in_old_release(tmp_path)
    torch.testing.assert_close(torch.tensor(same), logits, rtol=1e-4, atol=1e-4)
