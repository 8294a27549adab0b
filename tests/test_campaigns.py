"""One small finished experiment: audited, damaged, run again in part, compared, packed and killed.

The campaigns themselves (50 kills, 370 faults, 100,000 readings) are scripts beside this file. Here
are bounded samples of them.
"""

import json
import random
import shutil
import subprocess
import time
import zipfile

import flip_campaign
import fuzz_readers
import kill_campaign
import pytest
import small
import yaml

from wagle.audit import rerun, ro_crate, summary
from wagle.audit.check import audit_folder
from wagle.audit.compare import compare_numbers
from wagle.audit.lineage import trace_number
from wagle.audit.model_card import export_model
from wagle.audit.record_changes import changed_conditions
from wagle.cli.main import main
from wagle.errors import WagleError
from wagle.experiment import config
from wagle.runtime.files import read_json, sha256_file

pytestmark = pytest.mark.slow(3)
KEPT = "npo/wagle@gamma-1e-06/ratio-0.5/seed-1"
LICENCE = "https://spdx.org/licenses/CC-BY-4.0"


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    project = small.project(tmp_path_factory.mktemp("small"))
    assert small.start(project).wait() == 0, (project.folder / "run.log").read_text()[-3000:]
    return project


@pytest.fixture
def copy(experiment, tmp_path):
    return shutil.copytree(experiment.results, tmp_path / "tiny")


def test_the_audit_is_clean_and_the_target_settles(experiment):
    audit = audit_folder(experiment.results)
    assert audit.verdict == "clean", summary.as_text(audit)
    assert {f.path.split("/")[0] for f in audit.findings} == {
        "unlearned"
    }  # checkpoints that were removed after use
    code, output = experiment.snakemake("--", "audit")
    assert code == 0, output[-3000:]
    stored = read_json(experiment.results / "audit/config.json")
    assert (
        stored == experiment.config
        and read_json(experiment.results / "audit/audit.json")["verdict"] == "clean"
    )
    assert audit_folder(experiment.results).verdict == "clean"
    assert "Nothing to be done" in experiment.snakemake("--dry-run", "--", "audit")[1]


def test_a_number_leads_to_its_rows_and_model(experiment):
    number = trace_number(experiment.results, "npo wagle retain-acc")
    rules = {step.record.manifest["rule"] for step in number.steps}
    assert rules >= {
        "table",
        "collect",
        "metrics",
        "evaluate",
        "mask",
        "score",
        "gradients",
        "finetune",
        "base",
        "split",
    }
    assert all(step.status.startswith("intact") for step in number.steps)


def test_damage_is_found_and_never_used(copy):
    done = flip_campaign.campaign(copy, flips=20, truncations=5, swaps=4, seed=1)
    assert done["faults"] == 29


def test_hostile_files_are_one_error():
    done = fuzz_readers.campaign(600, 1)
    assert all(entry["refused"] > 0 for name, entry in done.items() if name != "cases")


def test_jobs_run_again_give_the_same_bytes(experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(experiment.folder)
    records = audit_folder(experiment.results).records
    # The checkpoint of this evaluation must be made again first.
    path = f"evaluations/{KEPT.replace('wagle@gamma-1e-06', 'wanda')}/manifest.json"
    assert [
        records[p].manifest["rule"]
        for p in rerun.with_removed_inputs(experiment.results, records, path)
    ] == [
        "unlearn",
        "evaluate",
    ]
    monkeypatch.setattr(rerun, "sample_jobs", lambda *_: [path])
    before = small.artifacts(experiment.results)
    outcomes = rerun.rerun_jobs(
        experiment.results, 1, seed=0, configfile="tiny.yaml", scratch=tmp_path
    )
    assert [(o.rule, o.kind) for o in outcomes] == [
        ("unlearn", "identical"),
        ("evaluate", "identical"),
    ], rerun.as_text(outcomes)
    assert small.artifacts(experiment.results) == before


def test_a_job_of_another_config_is_not_the_same(experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(experiment.folder)
    other = json.loads(json.dumps(experiment.config))
    other["evaluation"]["generation"]["max_new_tokens"] = 3
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(rerun, "sample_jobs", lambda *_: ["evaluations/original/manifest.json"])
    [outcome] = rerun.rerun_jobs(
        experiment.results,
        1,
        seed=0,
        configfile=str(tmp_path / "other.yaml"),
        scratch=tmp_path / "scratch",
    )
    assert outcome.kind == "different" and "another config" in outcome.why and not outcome.is_good


def test_two_folders_alike_and_not(experiment, copy, capsys):
    assert main(["compare", "--bytes", str(experiment.results), str(copy)]) == 0
    comparison = compare_numbers(experiment.results, copy)
    assert comparison.both and not comparison.only_first and not comparison.only_second
    assert all(number.difference == 0 for number in comparison.both)
    assert not any(changed_conditions(experiment.results, copy).values())
    (copy / "collected/metrics.csv").write_text((copy / "collected/metrics.csv").read_text() + "\n")
    assert main(["compare", "--bytes", str(experiment.results), str(copy)]) == 1
    assert "different: collected/metrics.csv" in capsys.readouterr().out


def test_the_crate_is_whole_the_same_each_time_and_audits_itself(experiment, tmp_path):
    settings = config.load(experiment.folder / "tiny.yaml")
    paths = [tmp_path / "one.zip", tmp_path / "two.zip"]
    for path in paths:
        ro_crate.build_crate(experiment.results, path, settings, LICENCE)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with zipfile.ZipFile(paths[0]) as archive:
        archive.extractall(tmp_path / "out")
    subprocess.run(
        ["sha256sum", "--quiet", "--check", "SHA256SUMS"], cwd=tmp_path / "out", check=True
    )
    results = tmp_path / "out/results/tiny"
    assert not any(
        path.suffix == ".safetensors"
        for stage in ro_crate.WEIGHTS
        for path in results.glob(f"{stage}/**/*")
    )
    assert audit_folder(results).verdict == "clean" and list(
        results.glob("masks/**/mask.safetensors")
    )
    (results / "masks/wagle@gamma-1e-06/seed-1/ratio-0.5/mask.safetensors").unlink()
    assert audit_folder(results).verdict == "problems"
    with pytest.raises(WagleError, match="the config is experiment 'other'"):
        ro_crate.build_crate(
            experiment.results, tmp_path / "three.zip", settings | {"experiment": "other"}, LICENCE
        )


def test_the_crate_is_a_workflow_run_crate(experiment, tmp_path):
    pytest.importorskip(
        "rocrate_validator", reason="roc-validator is not installed: pip install .[crate]"
    )
    import validate_crate

    ro_crate.build_crate(
        experiment.results,
        tmp_path / "crate",
        config.load(experiment.folder / "tiny.yaml"),
        LICENCE,
    )
    done = validate_crate.validate(str(tmp_path / "crate"))
    assert done.returncode == 0, done.stdout[-4000:]


def test_a_damaged_folder_is_not_packed(copy, experiment, tmp_path):
    (copy / "collected/metrics.csv").unlink()
    with pytest.raises(WagleError, match="found problems"):
        ro_crate.build_crate(
            copy, tmp_path / "x.zip", config.load(experiment.folder / "tiny.yaml"), LICENCE
        )
    assert not list(tmp_path.glob("x.zip*"))


def test_a_kept_model_goes_out_with_its_card(experiment, tmp_path):
    from wagle.model import checkpoints

    folder = export_model(experiment.results, KEPT, tmp_path / "model", "mit")
    checkpoints.check_pair(checkpoints.load(folder), checkpoints.load_tokenizer(folder))
    text = (folder / "README.md").read_text()
    for word in (
        "license: mit",
        KEPT,
        "retain Acc",
        "## Limits",
        sha256_file(folder / "model.safetensors"),
    ):
        assert word in text
    with pytest.raises(WagleError, match="removed after its evaluation"):
        export_model(
            experiment.results,
            KEPT.replace("wagle@gamma-1e-06", "wanda"),
            tmp_path / "other",
            "mit",
        )
    with pytest.raises(WagleError, match="exists"):
        export_model(experiment.results, KEPT, tmp_path / "model", "mit")


def test_an_altered_model_does_not_go_out(copy, tmp_path):
    path = copy / "unlearned" / KEPT / "checkpoint/model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WagleError, match="recorded"):
        export_model(copy, KEPT, tmp_path / "model", "mit")


def test_two_runs_in_one_folder_are_told_apart(experiment):
    shutil.rmtree(experiment.results / "report")
    first = small.start(experiment)
    try:
        for _ in range(600):
            if list((experiment.folder / ".snakemake/locks").glob("*")):
                break
            time.sleep(0.05)
        code, output = experiment.snakemake()
        assert code != 0 and "could not be locked" in output.lower().replace(
            "cannot", "could not"
        ), output[-2000:]
    finally:
        assert first.wait() == 0


def test_kills_leave_no_trace(experiment):
    """Last of this module: it starts the experiment over."""
    shutil.rmtree(experiment.results / "audit", ignore_errors=True)
    expected = small.artifacts(experiment.results)
    done, _ = kill_campaign.disturbed(experiment, 2, random.Random(3), 25)
    audit = audit_folder(experiment.results)
    assert done >= 1 and audit.verdict == "clean", summary.as_text(audit)
    assert (
        kill_campaign.differences(expected, small.artifacts(experiment.results), audit.records)
        == []
    )
