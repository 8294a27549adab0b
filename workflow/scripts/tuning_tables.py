"""Every trial, the picked points, and selections compared at equal efficacy or utility."""

# ruff: noqa: E402
from wagle.runtime.warm import hand_over

hand_over()

import json

from wagle.evaluation import trials
from wagle.reporting import frames, matched, tuning
from wagle.runtime.files import LARGE_LIMIT, read_json
from wagle.runtime.job import recorded


def read(paths):
    return [read_json(path, limit=LARGE_LIMIT, strict=False)["wagle"] for path in paths]


with recorded(snakemake) as outputs:
    rule = trials.Rule.of_config(json.loads(snakemake.params.rule))
    cells, claims = json.loads(snakemake.params.trials), json.loads(snakemake.params.claims)
    metrics, rows = read(snakemake.input.metrics), read(snakemake.input.rows)
    baselines = ["original", "retrained"][: len(metrics) - len(cells)]
    trial_metrics, trial_rows = metrics[len(baselines) :], rows[len(baselines) :]
    points = [read_json(path) for path in snakemake.input.points]
    found = {
        "trials": tuning.trials_table([*baselines, *cells], metrics, rule, points),
        "points": tuning.points_table(points, rule),
        "matched": matched.table(cells, trial_metrics, trial_rows, rule.metrics, claims),
    }
    for name, frame in found.items():
        frame.to_csv(getattr(outputs, name), index=False)
        getattr(outputs, f"{name}_markdown").write_text(frames.markdown(frame), encoding="utf-8")
        getattr(outputs, f"{name}_latex").write_text(frames.latex(frame), encoding="utf-8")
