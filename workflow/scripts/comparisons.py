"""Tables of the block `comparisons`: curvature estimates and their cost, and budget rules."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json
from pathlib import Path

from wagle.experiment import tasks
from wagle.model import tensors
from wagle.reporting import agreement, budgets, frames
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    params, files = json.loads(snakemake.params.params), dict(snakemake.input.items())
    found = {}
    if "estimators" in params:
        own = params["estimators"]
        keys = [(name, seed) for name in own["selections"] for seed in own["seeds"]]
        estimated = [key for key in keys if key[0] in own["estimated"]]
        curvatures = dict(zip(estimated, files["curvatures"], strict=True))
        scores = dict(zip(keys, files["scores"], strict=True))
        found["agreement"] = agreement.pairs(
            own["selections"],
            own["seeds"],
            curvatures,
            dict(zip(keys, files["estimator_masks"], strict=True)),
            tensors.parameter_shapes(files["model"]),
        )
        found["costs"] = agreement.costs(
            [name for name, _ in estimated],
            [str(Path(path).with_name("manifest.json")) for path in files["curvatures"]],
            [scores[key] for key in estimated],
        )
    if "budgets" in params:
        found["budgets"] = budgets.table(
            files["metrics"],
            params["budgets"]["cells"],
            params["budgets"]["selections"],
            files["budget_densities"],
            tasks.load(snakemake.params.task).TASK.utility,
        )
    for name, frame in found.items():
        for column in ("first", "second", "selection"):
            if column in frame:
                frame[column] = frame[column].map(frames.label)
        frame.to_csv(getattr(outputs, name), index=False)
        getattr(outputs, f"{name}_markdown").write_text(frames.markdown(frame), encoding="utf-8")
        getattr(outputs, f"{name}_latex").write_text(frames.latex(frame), encoding="utf-8")
