"""Records: outputs appear whole or not at all, and the records tell when one was changed."""

import errno
import json
import os
from types import SimpleNamespace

import pytest

from wagle.errors import WagleError
from wagle.runtime.files import read_json, sha256_file
from wagle.runtime.job import recorded
from wagle.runtime.records import read_manifest


def job(folder, inputs=(), **params):
    return SimpleNamespace(
        rule="make",
        input=[str(path) for path in inputs],
        output={
            "data": str(folder / "data.txt"),
            "model": str(folder / "model"),
            "manifest": str(folder / "manifest.json"),
        },
        params=params,
        wildcards={"seed": "1"},
        log=[],
    )


def make(folder, inputs=(), text="hello", **params):
    folder.mkdir(exist_ok=True)
    with recorded(job(folder, inputs, **params)) as outputs:
        outputs.data.write_text(text)
        outputs.model.mkdir()
        (outputs.model / "weights").write_text(text)
    return folder


def test_outputs_and_records(tmp_path):
    folder = make(tmp_path / "a", lr=1)
    manifest = read_manifest(folder / "manifest.json")
    assert set(manifest["outputs"]) == {"data.txt", "model/weights"}
    assert manifest["outputs"]["data.txt"]["sha256"] == sha256_file(folder / "data.txt")
    assert manifest["params"] == {"lr": 1} and manifest["wildcards"] == {"seed": "1"}
    run = json.loads((folder / "run.json").read_text())
    assert run["manifest_sha256"] == sha256_file(folder / "manifest.json")
    assert run["seconds"] >= 0 and run["peak_rss_mb"] > 0 and "torch" in run["packages"]
    assert not list(folder.glob("*.part"))


def test_a_failed_job_leaves_nothing_under_a_final_name(tmp_path):
    with pytest.raises(ZeroDivisionError), recorded(job(tmp_path)) as outputs:
        outputs.data.write_text("half")
        raise ZeroDivisionError
    assert not any(
        (tmp_path / name).exists() for name in ("data.txt", "model", "manifest.json", "run.json")
    )


def test_a_job_that_asks_for_a_gpu_stops_before_it_computes_on_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    wants_gpu = job(tmp_path)
    wants_gpu.resources = {"gpu": 1}
    with pytest.raises(WagleError, match="asks for 1 GPUs"), recorded(wants_gpu):
        pytest.fail("the job began")


def test_a_device_that_fails_after_the_work_does_not_fail_the_job(tmp_path, monkeypatch):
    def lost(*_):
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lost)
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lost)
    folder = make(tmp_path / "a")
    run = json.loads((folder / "run.json").read_text())
    assert run["accelerator"] is None and "peak_gpu_mb" not in run


def test_records_are_written_before_the_first_output_gets_its_name(tmp_path, monkeypatch):
    folder, rename, renamed = tmp_path / "a", os.replace, []

    def replace(source, target):
        if not renamed:
            for name in ("run.json", "manifest.json"):
                assert json.loads((folder / f"{name}.part").read_text())["format"]
        renamed.append(os.path.basename(target))
        rename(source, target)

    monkeypatch.setattr("os.replace", replace)
    make(folder)
    assert renamed == ["data.txt", "model", "run.json", "manifest.json"]


def test_a_missing_output_is_an_error(tmp_path):
    with (
        pytest.raises(WagleError, match="wrote no output 'model'"),
        recorded(job(tmp_path)) as outputs,
    ):
        outputs.data.write_text("x")
    assert not (tmp_path / "data.txt").exists()


def test_links_and_moved_folders(tmp_path):
    first = make(tmp_path / "a")
    second = make(tmp_path / "b", [first / "data.txt", first / "model", first / "manifest.json"])
    links = read_manifest(second / "manifest.json")["inputs"]
    assert links == {"../a/manifest.json": sha256_file(first / "manifest.json")}


@pytest.mark.parametrize("victim", ["data.txt", "model/weights"])
def test_altered_inputs_are_refused(tmp_path, victim):
    first = make(tmp_path / "a")
    (first / victim).write_text("other")
    with pytest.raises(WagleError, match="is not what"):
        make(tmp_path / "b", [first / "data.txt", first / "model", first / "manifest.json"])


def test_a_file_missing_from_a_checkpoint_is_refused(tmp_path):
    first = make(tmp_path / "a")
    (first / "model" / "weights").unlink()
    with pytest.raises(WagleError, match="is gone"):
        make(tmp_path / "b", [first / "model", first / "manifest.json"])


def test_a_file_added_to_a_checkpoint_is_refused(tmp_path):
    first = make(tmp_path / "a")
    (first / "model" / "extra").write_text("x")
    with pytest.raises(WagleError, match="not listed"):
        make(tmp_path / "b", [first / "model", first / "manifest.json"])


def test_same_outputs_same_manifest(tmp_path):
    first = (make(tmp_path / "a") / "manifest.json").read_bytes()
    again = (make(tmp_path / "a") / "manifest.json").read_bytes()
    assert first == again != (make(tmp_path / "a", text="new") / "manifest.json").read_bytes()


def test_stale_parts_are_cleared_and_resume_survives_failure_only(tmp_path):
    (tmp_path / "model.part").mkdir()
    (tmp_path / "model.part" / "old").write_text("x")
    with pytest.raises(ZeroDivisionError), recorded(job(tmp_path)) as outputs:
        outputs.resume.mkdir()
        raise ZeroDivisionError
    assert outputs.resume.exists()
    make(tmp_path)
    assert not outputs.resume.exists() and not (tmp_path / "model" / "old").exists()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 9}', '{"format": 1}', "\xff", "[" * 100000]
)
def test_bad_manifests_are_one_clear_error(tmp_path, text):
    (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(WagleError):
        read_manifest(tmp_path / "manifest.json")


def test_logged_jobs_exit_with_one_line(tmp_path, capfd):
    bad = job(tmp_path)
    bad.log = [str(tmp_path / "log.txt")]
    with pytest.raises(SystemExit) as stop, recorded(bad):
        raise WagleError("the cause", "something else", "do this")
    assert stop.value.code == 1
    assert "Traceback" not in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("console", ["on", "plain"])
def test_a_defect_leaves_its_traceback_and_a_line_with_the_cause(
    tmp_path, monkeypatch, capfd, console
):
    """The console prints causes from the logs, so the line must be there too."""
    monkeypatch.setenv("WAGLE_CONSOLE", console)
    broken = job(tmp_path)
    broken.log = [str(tmp_path / "log.txt")]
    with capfd.disabled(), pytest.raises(SystemExit) as stop, recorded(broken):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert stop.value.code == 1 and lines[0].startswith("Traceback")
    assert lines[-1].startswith("error: OSError: ") and "No space left on device" in lines[-1]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_leaves_nothing_half_written(tmp_path, monkeypatch, capfd, code):
    """Where the system refuses a write, the job ends with one line and no half-written file."""
    artifact = make(tmp_path / "a")
    before = {path.name: path.read_bytes() for path in artifact.iterdir() if path.is_file()}
    bad = job(tmp_path / "a", lr=2)
    bad.log = [str(tmp_path / "log.txt")]
    with monkeypatch.context() as patch:

        def full(*_):
            raise OSError(code, os.strerror(code))

        patch.setattr("wagle.runtime.job.flush", full)
        with pytest.raises(SystemExit), recorded(bad) as outputs:
            outputs.data.write_text("new")
            outputs.model.mkdir()
            (outputs.model / "weights").write_text("new")
    assert os.strerror(code) in capfd.readouterr().err
    assert {
        path.name: path.read_bytes()
        for path in artifact.iterdir()
        if path.is_file() and ".part" not in path.name
    } == before
    assert (make(tmp_path / "a", text="new") / "data.txt").read_text() == "new"


def test_an_altered_record_is_refused(tmp_path):
    """A changed param in an upstream record changes no hash in it; its run still knows."""
    first = make(tmp_path / "a", lr=1)
    path = first / "manifest.json"
    path.write_text(path.read_text().replace('"lr": 1', '"lr": 2'))
    with pytest.raises(WagleError, match=r"is not the record that run\.json"):
        make(tmp_path / "b", [first / "data.txt", first / "model", path])


def test_raw_files_of_one_name_keep_apart(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rows.jsonl").write_text(folder)
    artifact = make(tmp_path / "a", [tmp_path / "x/rows.jsonl", tmp_path / "y/rows.jsonl"])
    assert set(read_manifest(artifact / "manifest.json")["raw"]) == {"x/rows.jsonl", "y/rows.jsonl"}


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '"\\ud800"'])
def test_a_strict_reading_takes_only_what_a_record_can_hold(tmp_path, text):
    (tmp_path / "value.json").write_text(text)
    with pytest.raises(WagleError, match="not readable JSON"):
        read_json(tmp_path / "value.json")
    read_json(tmp_path / "value.json", strict=False)


@pytest.mark.parametrize("strict", [True, False])
def test_a_json_file_over_the_limit_is_refused(tmp_path, strict):
    (tmp_path / "value.json").write_text('"long"')
    assert read_json(tmp_path / "value.json", limit=6, strict=strict) == "long"
    with pytest.raises(WagleError, match="at most 5 bytes"):
        read_json(tmp_path / "value.json", limit=5, strict=strict)
