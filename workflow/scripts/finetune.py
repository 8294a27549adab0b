"""Target and retrained model: fine-tuned here, or taken from hub or path.

Fine-tuning uses all of the job's GPUs, LoRA one of them.
"""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

import torch

from wagle.data.chat import check_tokenizer
from wagle.model import checkpoints
from wagle.runtime.job import recorded
from wagle.training import launch
from wagle.training.entry import finetune_files

with recorded(snakemake) as outputs:
    torch.set_num_threads(snakemake.threads)
    spec, params = json.loads(snakemake.params.source), json.loads(snakemake.params.config)
    if spec["source"] == "finetune":
        training = dict(params["finetune"])
        adapters = training.pop("adapters", None)
        job = {
            "base": snakemake.input.base,
            "rows": [snakemake.input[f"{role}_rows"] for role in params["roles"]],
            "training": training,
            "encoding": params["encoding"],
            "adapters": adapters,
            "out": str(outputs.checkpoint),
            "resume": str(outputs.resume),
            "identity": outputs.identity,
        }
        launch.run(finetune_files, job, 1 if adapters else snakemake.resources.gpu)
    else:
        spec = checkpoints.located(spec, snakemake.config["models"][snakemake.wildcards.model])
        model, tokenizer = checkpoints.obtain(spec, [], 0)
        for template in (params or {}).get("chat_templates", []):
            check_tokenizer(tokenizer, template)
        checkpoints.save(model, tokenizer, outputs.checkpoint)
