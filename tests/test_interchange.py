"""TOFU's and open-unlearning's logs against independent numpy and scipy, to 1e-12."""

import json
import math

import numpy as np
import pytest
from oracles import make_generations, make_log
from scipy import stats

from wagle.cli.main import main
from wagle.data.rows import write_rows
from wagle.errors import WagleError
from wagle.evaluation import interchange, protocols, scoring
from wagle.evaluation.interchange import PREFIXES, TOFU_FILES

TEMPLATE = "[INST] {question} [/INST] {answer}"
SIZES = {"forget": (30, 5), "retain": (25, 5), "real authors": (20, 3), "world facts": (22, 3)}


def tofu_log(seed):
    rng, log = np.random.default_rng(seed), {}
    for name, (n, k) in SIZES.items():
        order = rng.permutation(n).tolist()  # rows may come in any order, differing by column
        gt = dict(zip(map(str, range(n)), rng.exponential(1, n).tolist(), strict=True))
        log[TOFU_FILES[name]] = {
            "avg_gt_loss": gt,
            "avg_paraphrased_loss": {str(i): float(rng.exponential(1)) for i in order},
            "average_perturb_loss": {str(i): rng.exponential(1.5, k).tolist() for i in range(n)},
            "rougeL_recall": {str(i): float(rng.uniform(0.2, 1)) for i in range(n)},
        }
    return log


def by_row(block, key):
    return np.array([block[key][str(i)] for i in range(len(block[key]))])


def test_tofu_numbers(tmp_path):
    logs = [tofu_log(0), tofu_log(1)]
    for i, log in enumerate(logs):
        (tmp_path / f"{i}.json").write_text(json.dumps(log))
    protocol, found = interchange.log_metrics(tmp_path / "0.json", tmp_path / "1.json")
    assert protocol == "tofu"

    def ratio(log, name):
        block = log[TOFU_FILES[name]]
        return np.exp(
            by_row(block, "average_perturb_loss").mean(1) - by_row(block, "avg_paraphrased_loss")
        )

    p = stats.ks_2samp(ratio(logs[0], "forget"), ratio(logs[1], "forget")).pvalue
    assert found["forget quality"]["value"] == pytest.approx(p, rel=1e-12)
    nine = []
    for name in ("retain", "real authors", "world facts"):
        block = logs[0][TOFU_FILES[name]]
        probability = np.exp(-by_row(block, "avg_gt_loss"))
        if name != "retain":
            probability = probability / (
                probability + np.exp(-by_row(block, "average_perturb_loss")).sum(1)
            )
        score = np.maximum(0, 1 - 1 / ratio(logs[0], name))
        nine += [probability.mean(), by_row(block, "rougeL_recall").mean(), score.mean()]
    assert found["model utility"]["value"] == pytest.approx(stats.hmean(nine), rel=1e-12)

    def paper(name):
        block = logs[0][TOFU_FILES[name]]
        return np.exp(-by_row(block, "average_perturb_loss")).mean(1) / np.exp(
            -by_row(block, "avg_paraphrased_loss")
        )

    expected = 1 - stats.ks_2samp(paper("forget"), paper("retain")).pvalue
    assert found["FQ (wagle)"]["value"] == pytest.approx(expected, rel=1e-12)


def open_unlearning_log(seed):
    rng, log = np.random.default_rng(seed), {}
    for name, (n, k) in SIZES.items():
        prefix = PREFIXES[name]
        losses = {"Prob": rng.exponential(1, n), "PERT_Prob": rng.exponential(1.5, (n, k))}
        if k == 5:
            losses["PARA_Prob"] = rng.exponential(1, n)
        for part, values in losses.items():
            rows = {
                str(i): {"prob": np.exp(-v).tolist(), "avg_loss": v.tolist()}
                for i, v in enumerate(values)
            }
            log[f"{prefix}_Q_A_{part}"] = {
                "agg_value": float(np.exp(-values).mean()),
                "value_by_index": rows,
            }
        rouge = rng.uniform(0.2, 1, n)
        log[f"{prefix}_Q_A_ROUGE"] = {
            "agg_value": float(rouge.mean()),
            "value_by_index": {
                str(i): {"rougeL_recall": float(x), "generation": "x"} for i, x in enumerate(rouge)
            },
        }
    return log


def losses_of(log, name):
    prefix, k = PREFIXES[name], SIZES[name][1]

    def column(part):
        return np.array(
            [row["avg_loss"] for row in log[f"{prefix}_Q_A_{part}"]["value_by_index"].values()]
        )

    return column("Prob"), column("PARA_Prob" if k == 5 else "Prob"), column("PERT_Prob")


def test_open_unlearning_numbers(tmp_path):
    logs = [open_unlearning_log(0), open_unlearning_log(1)]
    for i, log in enumerate(logs):
        (tmp_path / f"{i}.json").write_text(json.dumps(log))
    protocol, found = interchange.log_metrics(tmp_path / "0.json", tmp_path / "1.json")
    assert protocol == "open-unlearning"

    def ratio(log, name):
        _, right, wrong = losses_of(log, name)
        return np.exp(-wrong.mean(1)) / (np.exp(-right) + 1e-10)

    inverse = [1 / (ratio(log, "forget") + 1e-10) for log in logs]
    assert found["forget quality"]["value"] == pytest.approx(
        stats.ks_2samp(*inverse).pvalue, rel=1e-12
    )
    r = ratio(logs[0], "forget")
    assert found["forget truth ratio"]["value"] == pytest.approx(
        np.minimum(r, 1 / (r + 1e-10)).mean(), rel=1e-12
    )
    nine = []
    for name in ("retain", "real authors", "world facts"):
        gold, _, wrong = losses_of(logs[0], name)
        probability = np.exp(-gold)
        if name != "retain":
            probability = probability / (probability + np.exp(-wrong).sum(1) + 1e-10)
        rouge = logs[0][f"{PREFIXES[name]}_Q_A_ROUGE"]["agg_value"]
        nine += [probability.mean(), rouge, np.maximum(0, 1 - ratio(logs[0], name)).mean()]
    assert found["model utility"]["value"] == pytest.approx(stats.hmean(nine), rel=1e-12)


def test_our_logs_as_open_unlearnings_json_give_our_numbers(tmp_path):
    columns, generations, reference = make_log(), make_generations(), make_log(1)
    exported = [
        interchange.to_open_unlearning(c, generations, r)
        for c, r in ((columns, reference), (reference, None))
    ]
    for i, log in enumerate(exported):
        (tmp_path / f"{i}.json").write_text(json.dumps(log))
    _, found = interchange.log_metrics(tmp_path / "0.json", tmp_path / "1.json")
    ours = protocols.evaluate("open-unlearning", columns, generations, reference)
    for metric in (
        "forget quality",
        "model utility",
        "forget truth ratio",
        "world facts probability",
        "retain Rouge-L",
    ):
        assert found[metric]["value"] == pytest.approx(ours[metric]["value"], rel=1e-12), metric
    assert exported[0]["model_utility"]["agg_value"] == ours["model utility"]["value"]
    assert (
        exported[0]["ra_Q_A_Prob_normalised"]["agg_value"]
        == ours["real authors probability"]["value"]
    )
    assert len(exported[0]["exact_memorization"]["value_by_index"]) == 6
    scores = [
        np.array([row["score"] for row in log["forget_truth_ratio"]["value_by_index"].values()])
        for log in exported
    ]
    p = stats.ks_2samp(
        *[1 / (score + 1e-10) for score in scores]
    ).pvalue  # their forget quality, from their field
    assert p == pytest.approx(ours["forget quality"]["value"], rel=1e-12)


@pytest.mark.parametrize("truth_ratio", [True, False])
def test_tofus_two_layouts_are_one_log(tmp_path, truth_ratio):
    """Mappings from row index to values, and plain lists, which may lack their truth ratios."""
    logs = [tofu_log(0), tofu_log(1)]
    for i, log in enumerate(logs):
        (tmp_path / f"mapped{i}.json").write_text(json.dumps(log))
        for block in log.values():
            for key, rows in block.items():
                block[key] = [rows[str(row)] for row in range(len(rows))]
            if truth_ratio:
                block["truth_ratio"] = [1.0] * len(block["avg_gt_loss"])
        (tmp_path / f"listed{i}.json").write_text(json.dumps(log))
    results = [
        interchange.log_metrics(tmp_path / f"{layout}0.json", tmp_path / f"{layout}1.json")
        for layout in ("mapped", "listed")
    ]
    assert results[0][0] == results[1][0] == "tofu"
    assert results[0][1].keys() == results[1][1].keys()
    for name, entry in results[0][1].items():
        assert results[1][1][name]["value"] == pytest.approx(entry["value"], rel=1e-12), name
    mixed = json.loads((tmp_path / "mapped1.json").read_text())
    mixed["eval_log.json"]["avg_gt_loss"] = logs[1]["eval_log.json"]["avg_gt_loss"]
    (tmp_path / "mixed.json").write_text(json.dumps(mixed))
    assert interchange.log_metrics(tmp_path / "mixed.json")[0] == "tofu"


def test_every_number_of_an_open_unlearning_file_is_shown(tmp_path, capsys):
    log = open_unlearning_log(0)
    own = {
        "exact_memorization": {"agg_value": 0.91, "value_by_index": {"0": {"score": 0.91}}},
        "extraction_strength": {"agg_value": 0.42},
        "mia_loss": {"agg_value": 0.31, "auc": 0.31, "forget": {}, "holdout": {}},
        "mia_zlib": {"agg_value": 0.32},
        "mia_min_k": {"agg_value": 0.33},
        "mia_min_k_plus_plus": {"agg_value": 0.34},
        "mia_gradnorm": {"agg_value": 0.35},
        "privleak": {"agg_value": -61.5},
        "forget_quality": {"agg_value": 0.01},
        "model_utility": {"agg_value": 0.99},
        "forget_Q_A_gibberish": {"agg_value": 0.8},
        "steps": {"agg_value": {"first": 0.1, "last": 0.2}},
        "nothing": {"agg_value": None},
    }
    (tmp_path / "log.json").write_text(json.dumps(log | own))
    protocol, shown = interchange.log_metrics(tmp_path / "log.json")
    assert protocol == "open-unlearning"
    expected = {"exact memorization": 0.91, "extraction strength": 0.42, "MIA loss": 0.31,
                "MIA zlib": 0.32, "MIA min-k": 0.33, "MIA min-k++": 0.34, "mia_gradnorm": 0.35,
                "privleak": -61.5, "forget quality": 0.01, "model utility (file)": 0.99,
                "forget_Q_A_gibberish": 0.8, "steps first": 0.1, "steps last": 0.2}  # fmt: skip
    assert {name: shown[name]["value"] for name in expected} == expected
    assert shown["exact memorization"]["n"] == 1 and math.isnan(shown["nothing"]["value"])
    assert {f"{p}_Q_A_PERT_Prob" for p in PREFIXES.values()} <= set(shown)
    assert shown["model utility"]["value"] != 0.99  # ours, from the rows
    assert not [name for name in shown if name.endswith("(file)") and name not in expected]
    assert main(["metrics", str(tmp_path / "log.json")]) == 0
    printed = capsys.readouterr().out
    assert all(f"{name} " in printed for name in shown)
    (tmp_path / "alone.json").write_text(json.dumps(own))
    alone = interchange.log_metrics(tmp_path / "alone.json")[1]
    assert alone["MIA min-k"]["value"] == 0.33 and alone["model utility"]["value"] == 0.99
    (tmp_path / "summary.json").write_text(json.dumps({"mia_min_k": 0.3, "model_utility": 0.6}))
    flat = interchange.log_metrics(tmp_path / "summary.json")[1]
    assert {name: entry["value"] for name, entry in flat.items()} == {
        "MIA min-k": 0.3,
        "model utility": 0.6,
    }
    with pytest.raises(WagleError, match="no rows of the forget split"):
        interchange.log_metrics(tmp_path / "alone.json", tmp_path / "log.json")


def broken(change):
    log = tofu_log(0)
    change(log[TOFU_FILES["forget"]])
    return log


@pytest.mark.parametrize(
    "log",
    [
        [],
        {},
        {"eval_log_forget.json": 3},
        {"forget_Q_A_PERT_Prob": {"value_by_index": {"0": {"avg_loss": "x"}}}},
        broken(lambda block: block["avg_gt_loss"].popitem()),
        broken(lambda block: block.pop("avg_paraphrased_loss")),
        broken(lambda block: block["avg_gt_loss"].update({"0": math.nan})),
        broken(lambda block: block["average_perturb_loss"].update({"0": [1.0]})),
        broken(lambda block: block.update(avg_gt_loss={})),
    ],
)
def test_broken_logs_are_one_clear_error(tmp_path, log):
    (tmp_path / "log.json").write_text(json.dumps(log))
    with pytest.raises(WagleError):
        interchange.log_metrics(tmp_path / "log.json")


def test_unreadable_files(tmp_path):
    (tmp_path / "log.json").write_bytes(b"\xff{")
    for path in (tmp_path / "log.json", tmp_path / "none.json"):
        with pytest.raises(WagleError):
            interchange.read_log(path)


def test_command_line(tmp_path, capsys):
    (tmp_path / "tofu.json").write_text(json.dumps(tofu_log(0)))
    assert (
        main(
            [
                "metrics",
                str(tmp_path / "tofu.json"),
                "--reference",
                str(tmp_path / "tofu.json"),
                "--json",
            ]
        )
        == 0
    )
    printed = json.loads(capsys.readouterr().out)
    assert printed["protocol"] == "tofu" and printed["metrics"]["forget quality"]["value"] == 1.0
    folder = tmp_path / "ours"
    folder.mkdir()
    scoring.write_log(folder / "tokens.parquet", make_log(), TEMPLATE)
    write_rows(folder / "generations.jsonl", make_generations())
    assert main(["metrics", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "UE Avg" in printed and repr(TEMPLATE) in printed
    other = tmp_path / "other"
    other.mkdir()
    scoring.write_log(other / "tokens.parquet", make_log(1), TEMPLATE.replace("] {a", "]{a"))
    write_rows(other / "generations.jsonl", make_generations())
    asked = ["metrics", str(folder), "--protocol", "tofu", "--reference", str(other)]
    assert main(asked) == 1
    assert "was scored in the template" in capsys.readouterr().err
    assert (
        main(["export-log", str(folder), str(tmp_path / "out.json"), "--reference", str(folder)])
        == 0
    )
    assert main(["metrics", str(tmp_path / "out.json")]) == 0
    assert main(["metrics", str(tmp_path / "nothing.json")]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_paired_cells_on_the_command_line(tmp_path, capsys):
    for cell, shift in (("npo/dense/ratio-all", 0.0), ("npo/wagle@gamma-1e-06/ratio-0.8", 0.25)):
        for seed in (1, 2):
            folder = tmp_path / "metrics" / cell / f"seed-{seed}"
            folder.mkdir(parents=True)
            rows = {"wagle": {"1-Rouge-L": [shift + 0.1 * seed, 0.2, 0.3 + shift]}}
            (folder / "rows.json").write_text(json.dumps(rows))
    arguments = [
        "paired",
        str(tmp_path),
        "npo/dense/ratio-all",
        "npo/wagle@gamma-1e-06/ratio-0.8",
        "--json",
    ]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert (
        found["difference"] == pytest.approx(0.5 / 3)
        and found["n_rows"] == 3
        and found["n_seeds"] == 2
    )
    assert main([*arguments, "--metric", "FQ"]) == 1
    assert "one of 1-Rouge-L" in capsys.readouterr().err
