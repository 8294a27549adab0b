"""The audit and the lineage on a small folder of real records.

The audit must notice each kind of damage and name the file.
"""

import json
import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from wagle.audit import lineage, summary
from wagle.audit.check import audit_folder
from wagle.audit.compare import compare_numbers
from wagle.audit.record_graph import ancestors, descendants, load_records
from wagle.cli.main import main
from wagle.errors import WagleError
from wagle.evaluation.statistics import difference
from wagle.runtime import identity
from wagle.runtime.files import json_text, sha256_file, sha256_text, write_json
from wagle.runtime.job import recorded
from wagle.runtime.records import read_manifest

HEADER = "experiment,task,method,selection,ratio,gamma,seed,protocol,metric,value,se,n\n"
CODE = identity.code_identity("workflow/scripts/collect.py")
VALUES = {1: {"retain Acc": 0.25, "MIA": 0.5}, 2: {"retain Acc": 0.75, "MIA": 0.5}}


def run(rule, folder, inputs=(), write=None, code=CODE, raw=(), **wildcards):
    """One recorded job whose outputs are `write`: text by name, in folders where it has a slash."""
    tops = sorted({name.split("/")[0] for name in write})
    job = SimpleNamespace(
        rule=rule,
        input=[
            str(p)
            for source in inputs
            for p in sorted(source.rglob("*"))
            if p.is_file() and p.name != "run.json"
        ]
        + list(map(str, raw)),
        output={f"o{i}": str(folder / top) for i, top in enumerate(tops)}
        | {"manifest": str(folder / "manifest.json")},
        params={"code": code, **({"cells": json.dumps(CELLS)} if rule == "table" else {})},
        wildcards=wildcards,
        log=[],
    )
    with recorded(job) as outputs:
        for name, content in write.items():
            path = getattr(outputs, f"o{tops.index(name.split('/')[0])}").joinpath(
                *name.split("/")[1:]
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    return folder


CELLS = [f"npo/wagle@gamma-1e-06/ratio-0.8/seed-{seed}" for seed in VALUES]


def metrics_of(seed):
    return {
        "wagle": {name: {"value": value, "se": 0.1, "n": 4} for name, value in VALUES[seed].items()}
    }


@pytest.fixture
def results(tmp_path):
    """data -> model -> two cells (unlearned, mask, metrics) -> collected -> table."""
    root = tmp_path / "results"
    (tmp_path / "raw.jsonl").write_text("{}\n")
    rows = run(
        "split",
        root / "data/forget",
        write={"rows.jsonl": "rows"},
        raw=[tmp_path / "raw.jsonl"],
        role="forget",
    )
    model = run(
        "finetune",
        root / "models/target",
        [rows],
        {"checkpoint/config.json": "{}", "checkpoint/w": "weights"},
        model="target",
    )
    cells, lines = [], HEADER
    for seed, cell in enumerate(CELLS, 1):
        mask = run(
            "mask",
            root / f"masks/wagle@gamma-1e-06/seed-{seed}/ratio-0.8",
            [model],
            {"mask": f"mask {seed}"},
            ratio="0.8",
        )
        unlearned = run(
            "unlearn",
            root / "unlearned" / cell,
            [model, mask],
            {"checkpoint/w": f"new {seed}", "moved.json": "{}"},
            cell=cell,
        )
        cells.append(
            run(
                "metrics",
                root / "metrics" / cell,
                [unlearned],
                {"metrics.json": json.dumps(metrics_of(seed))},
                cell=cell,
            )
        )
        shutil.rmtree(unlearned / "checkpoint")
        for name, value in VALUES[seed].items():
            lines += f"x,tofu,npo,wagle,0.8,1e-06,{seed},wagle,{name},{value},0.1,4\n"
    collected = run("collect", root / "collected", cells, {"metrics.csv": lines})
    run(
        "table",
        root / "tables/table1/wagle",
        [collected],
        {"table1.csv": "table"},
        protocol="wagle",
    )
    (root / "logs").mkdir()
    (root / "logs/collect.log").write_text("a line of output")
    return root


def kinds(results, **options):
    return {
        (f.kind, f.path) for f in audit_folder(results, **options).findings if f.kind != "temporary"
    }


def test_a_whole_folder_is_clean(results):
    audit = audit_folder(results)
    assert audit.verdict == "clean" and kinds(results) == set()
    assert audit.counts["temporary"] == 2 and audit.counts["log"] == 1
    assert (
        audit.counts["intact"] == sum(p.is_file() for p in results.rglob("*")) - 1
    )  # all but the log
    assert "Verdict: clean" in summary.as_text(audit)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


FILES = [
    "data/forget/rows.jsonl",
    "models/target/checkpoint/w",
    "models/target/manifest.json",
    "models/target/run.json",
    f"metrics/{CELLS[0]}/metrics.json",
    "collected/manifest.json",
    "tables/table1/wagle/table1.csv",
    "tables/table1/wagle/manifest.json",
    "tables/table1/wagle/run.json",
]


@pytest.mark.parametrize("name", FILES)
def test_one_bit(results, name):
    flip(results / name)
    assert ("altered", name) in kinds(results)
    assert audit_folder(results).verdict == "problems"


@pytest.mark.parametrize("name", FILES)
def test_one_file_gone(results, name):
    (results / name).unlink()
    findings = kinds(results)
    assert ("missing", name) in findings or any(
        path.startswith(name.rpartition("/")[0]) for _, path in findings
    )
    assert audit_folder(results).verdict == "problems"


@pytest.mark.parametrize("name", FILES)
def test_a_link_is_not_the_file(results, tmp_path, name):
    shutil.move(results / name, tmp_path / "elsewhere")
    (results / name).symlink_to(tmp_path / "elsewhere")
    assert ("altered", name) in kinds(results)


def test_swapped_files_and_folders(results):
    one, two = (results / "metrics" / cell for cell in CELLS)
    for a, b in (
        ("metrics.json", "metrics.json"),
        ("manifest.json", "manifest.json"),
        ("run.json", "run.json"),
    ):
        spare = results / "spare"
        shutil.move(one / a, spare), shutil.move(two / b, one / a), shutil.move(spare, two / b)
        named = {path for kind, path in kinds(results) if kind == "altered"}
        assert {f"metrics/{CELLS[0]}", f"metrics/{CELLS[1]}"} <= {
            path.rpartition("/")[0] for path in named
        }, a
        shutil.move(one / a, spare), shutil.move(two / b, one / a), shutil.move(spare, two / b)
    assert kinds(results) == set()
    one.rename(results / "spare"), two.rename(one), (results / "spare").rename(two)
    assert {("altered", f"metrics/{cell}/manifest.json") for cell in CELLS} <= kinds(results)


def test_an_added_file_a_half_one_and_a_half_removed_checkpoint(results):
    (results / "models/target/checkpoint/extra").write_text("x")
    (results / "models/target/checkpoint.part").mkdir()
    (results / "models/target/checkpoint.part/w").write_text("x")
    assert kinds(results) == {
        ("unaccounted", "models/target/checkpoint/extra"),
        ("unfinished", "models/target/checkpoint.part/w"),
    }


def test_a_used_up_checkpoint_is_not_missing_but_any_other_is(results):
    shutil.rmtree(results / "models/target/checkpoint")
    assert {path for kind, path in kinds(results) if kind == "missing"} == {
        "models/target/checkpoint/w",
        "models/target/checkpoint/config.json",
    }


def test_a_record_that_is_gone_is_missed_by_its_readers(results):
    shutil.rmtree(results / "models/target")
    assert ("missing", "models/target/manifest.json") in kinds(results)


def test_stale_inputs_and_what_was_made_from_them(results):
    run(
        "finetune",
        results / "models/target",
        [results / "data/forget"],
        {"checkpoint/config.json": "{}", "checkpoint/w": "other"},
        model="target",
    )
    audit = audit_folder(results)
    stale = {f.path for f in audit.findings if f.kind == "stale"}
    assert audit.verdict == "stale"
    assert stale == {
        f"{r.folder}/manifest.json"
        for r in audit.records.values()
        if r.folder.startswith(("masks", "unlearned"))
    }
    assert descendants(audit.records, stale) >= {
        "collected/manifest.json",
        "tables/table1/wagle/manifest.json",
    }


def test_stale_code(results):
    other = "0" * 64 + ":workflow/scripts/collect.py"
    run(
        "table",
        results / "tables/table1/wagle",
        [results / "collected"],
        {"table1.csv": "t"},
        code=other.replace("0" * 64, CODE[:64]),
        protocol="wagle",
    )
    assert audit_folder(results).verdict == "clean"
    manifest = results / "tables/table1/wagle/manifest.json"
    changed = json.loads(manifest.read_text())
    for code in (other, "0" * 64 + ":../../etc/secret.py", "0" * 64 + ":no_such_module"):
        changed["params"]["code"] = code
        rewrite(manifest, changed)
        assert kinds(results) == {("stale", "tables/table1/wagle/manifest.json")}
        assert kinds(results, code=False) == set()


def rewrite(path, manifest):
    """A manifest and a run record that fit each other, as a forger would leave them."""
    write_json(path, manifest)
    run = json.loads(path.with_name("run.json").read_text())
    run = {k: v for k, v in run.items() if k != "sha256"} | {"manifest_sha256": sha256_file(path)}
    write_json(path.with_name("run.json"), run | {"sha256": sha256_text(json_text(run))})


@pytest.mark.parametrize(
    "name", ["../../../../etc/passwd", "/etc/passwd", "a/../../b", "..", "a//b", "a\x00b", "a\\b"]
)
@pytest.mark.parametrize("key", ["outputs", "inputs", "raw"])
def test_records_name_nothing_outside(results, key, name):
    path = results / "tables/table1/wagle/manifest.json"
    manifest = json.loads(path.read_text())
    manifest[key] |= {name: "0" * 64 if key != "outputs" else {"sha256": "0" * 64, "bytes": 1}}
    rewrite(path, manifest)
    assert ("altered", "tables/table1/wagle/manifest.json") in kinds(results)


def test_links_lead_to_no_other_folder(results):
    path = results / "tables/table1/wagle/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["inputs"] |= {"../../../../other/manifest.json": "0" * 64}
    rewrite(path, manifest)
    assert ("altered", "tables/table1/wagle/manifest.json") in kinds(results)


def test_no_folder_and_no_records(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(WagleError):
            audit_folder(path)


def test_exit_codes_and_json(results, capsys):
    assert main(["audit", str(results), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "clean"
    run("split", results / "data/forget", write={"rows.jsonl": "new"}, role="forget")
    assert main(["audit", str(results)]) == 3
    assert "made from an earlier data/forget/manifest.json" in capsys.readouterr().out
    flip(results / "collected/metrics.csv")
    assert main(["audit", str(results)]) == 1
    assert "collected/metrics.csv" in capsys.readouterr().out


def test_raw_files_are_named_without_their_place(results, tmp_path):
    manifest = read_manifest(results / "data/forget/manifest.json")
    assert (
        manifest["raw"] == {"raw.jsonl": sha256_file(tmp_path / "raw.jsonl")}
        and not manifest["inputs"]
    )


def test_lineage_goes_from_the_table_to_the_rows(results):
    number = lineage.trace_number(results, "npo wagle retain-acc")
    assert (
        number.values == {"1": 0.25, "2": 0.75}
        and number.mean == 0.5
        and number.se == pytest.approx(0.25)
    )
    rules = [step.record.manifest["rule"] for step in number.steps]
    assert (
        rules[:2] == ["table", "collect"]
        and rules[-1] == "split"
        and rules.count("mask") == 2
        and rules.count("finetune") == 1
    )
    for step in number.steps:
        assert all(source > step.number for source in step.sources) and step.status.startswith(
            "intact"
        )
    one = lineage.trace_number(results, "npo wagle retain-acc seed=2")
    assert one.values == {"2": 0.75} and one.se is None
    assert not any("seed-1" in step.record.folder for step in one.steps)
    shown = lineage.as_text(number)
    assert (
        "0.5 ± 0.25" in shown and "raw file raw.jsonl" in shown and "every step is intact" in shown
    )


def test_lineage_names_the_broken_step(results):
    flip(results / "models/target/checkpoint/w")
    number = lineage.trace_number(results, "npo wagle mia")
    [bad] = [step for step in number.steps if step.status == "ALTERED"]
    assert (
        bad.record.folder == "models/target"
        and f"NOT INTACT: step {bad.number}" in lineage.as_text(number)
    )
    assert main(["audit", str(results), "--cell", "npo wagle mia"]) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("npo wagle", "fits 2 numbers: .*retain Acc"),
        ("npo wagle a", "fits 2 numbers"),
        ("npo dense mia", "'densemia' is no metric|'dense mia' is no metric"),
        ("npo wagle mia seed=7", "nothing has seed '7'.*one of 1, 2"),
        ("npo wagle mia color=7", "no such key"),
    ],
)
def test_unclear_words_are_an_error(results, words, message):
    with pytest.raises(WagleError, match=message):
        lineage.trace_number(results, words)


def test_a_number_that_its_metrics_do_not_hold(results):
    path = results / "collected/metrics.csv"
    path.write_text(path.read_text().replace("0.75", "0.76"))
    with pytest.raises(WagleError, match=r"says 0\.75, the collected metrics 0\.76"):
        lineage.trace_number(results, "npo wagle retain-acc")


def test_intermediates_may_be_removed(results):
    unlearned = run(
        "gradients",
        results / "gradients/forget/all",
        [results / "models/target"],
        {"g": "g"},
        side="forget",
    )
    run(
        "mask",
        results / "masks/wagle@gamma-1e-06/seed-1/ratio-0.8",
        [unlearned],
        {"mask": "mask 1"},
        ratio="0.8",
    )
    shutil.rmtree(results / "gradients")
    findings = audit_folder(results).findings
    assert ("temporary", "gradients/forget/all/manifest.json") in {
        (f.kind, f.path) for f in findings
    }
    assert not any(f.kind == "missing" for f in findings)


def test_two_seeds_without_rows_tell_no_difference_from_chance(results, tmp_path, capsys):
    other = shutil.copytree(results, tmp_path / "other")
    path = other / "collected/metrics.csv"
    path.write_text(path.read_text().replace(",MIA,0.5,", ",MIA,1.0,"))
    comparison = compare_numbers(results, other)
    nothing = "nothing; not the spread over seeds: 2 of at least 3"
    assert [(n.name, n.difference, n.covers) for n in comparison.both] == [
        ("npo wagle ratio=0.8 gamma=1e-06 [wagle] retain Acc", 0.0, "equal"),
        ("npo wagle ratio=0.8 gamma=1e-06 [wagle] MIA", 0.5, nothing),
    ]
    number = comparison.both[1]
    assert math.isinf(number.se) and math.isnan(number.p) and math.isnan(number.adjusted)
    assert main(["compare", str(results), str(other)]) == 0
    printed = capsys.readouterr().out
    assert "2 numbers in both: 1 equal, 1 different" in printed and "config: the same" in printed
    assert main(["compare", str(results), str(other), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["both"][1]["difference"] == 0.5


def test_numbers_with_rows_are_compared_by_the_engine(results, tmp_path):
    """No record says that the rows are of the same data; p is Holm's over both numbers."""
    other = shutil.copytree(results, tmp_path / "other")
    rng, cells = np.random.default_rng(0), {}
    for root, shift in ((results, 0.0), (other, 0.1)):
        cells[root] = rng.normal(shift, 1, (2, 20))
        for seed, cell in enumerate(CELLS):
            rows = {"wagle": {"MIA": {"forget": cells[root][seed].tolist()}}}
            (root / "metrics" / cell / "rows.json").write_text(json.dumps(rows))
    number = compare_numbers(results, other).both[1]
    expected = difference(cells[other], cells[results], paired_rows=False)
    assert number.covers == "independent rows; not the spread over seeds: 2 of at least 3"
    assert (number.difference, number.se) == pytest.approx((expected.value, expected.se))
    assert number.p == pytest.approx(expected.p) and number.adjusted == pytest.approx(
        min(1, 2 * expected.p)
    )


def test_ancestors_are_each_named_once_and_nearest_first(results):
    records = load_records(results).records
    folders = [records[path].folder for path in ancestors(records, "collected/manifest.json")]
    assert folders[:3] == ["collected", *(f"metrics/{cell}" for cell in CELLS)]
    assert folders[-1] == "data/forget" and len(folders) == len(set(folders)) == 9
