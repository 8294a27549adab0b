"""The point of one method and selection: the best of its trials by the config's rule."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

from wagle.evaluation import trials
from wagle.evaluation.names import DEGENERATE
from wagle.runtime.files import read_json, write_json
from wagle.runtime.job import recorded

with recorded(snakemake) as outputs:
    rule = trials.Rule.of_config(json.loads(snakemake.params.rule))
    cells = json.loads(snakemake.params.trials)
    metrics = [read_json(path, strict=False)["wagle"] for path in snakemake.input.trials]
    baseline = read_json(snakemake.input.baseline, strict=False)["wagle"]
    points = trials.points(cells, metrics, rule)
    least = rule.at_least * baseline[rule.kept]["value"]
    original = read_json(snakemake.input.original, strict=False)["wagle"]
    degenerate = original.get(DEGENERATE, {}).get("value")
    write_json(outputs.point, trials.pick(points, least, degenerate).as_json(rule, least))
