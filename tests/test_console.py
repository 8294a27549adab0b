"""What a person sees of a run: one line in 30 s, causes whole; and when it is left alone."""

import io
import logging
import os
from types import SimpleNamespace

import pytest

from wagle.runtime import console


@pytest.fixture
def shown(monkeypatch):
    """`send(**fields)` gives the handler a record and moves the clock by ten seconds."""
    now, stream = [0.0], io.StringIO()
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    handler = console.Handler(stream)

    def send(message="", level=logging.INFO, **fields):
        record = logging.LogRecord("snakemake", level, __file__, 0, message, (), None)
        vars(record).update(fields)
        handler.emit(record)
        now[0] += 10
        return stream.getvalue()

    return send, handler, stream


def job(number, rule="unlearn", **wildcards):
    return {"event": "job_info", "jobid": number, "rule_name": rule, "wildcards": wildcards}


def test_a_file_gets_a_line_in_thirty_seconds_with_the_time_left(shown):
    send, handler, stream = shown
    send(event="run_info", stats={"unlearn": 8, "all": 1, "total": 9})
    for number in range(4):
        send(**job(number))
        send(event="job_finished", job_id=number)
    handler.close()
    lines = stream.getvalue().splitlines()
    assert (
        lines[0] == "9 jobs: 8 unlearn" and len(lines) == 4
    )  # at 30 s, at 60 s, and the closing one
    assert lines[1].startswith("1 of 9 jobs (11 %) in 0:30 min | unlearn")
    # three jobs of 10 s in 60 s, one at once: four of the same kind and `all` as long
    assert lines[2].startswith("3 of 9 jobs (33 %) in 1:00 min, about 1:00 min left")
    assert lines[3] == "4 of 9 jobs done in 1:30 min"


def test_a_failed_jobs_cause_is_whole_and_said_once(shown, tmp_path):
    send, handler, stream = shown
    log, long = tmp_path / "job.log", "error: " + "far too long for one line " * 20
    send(event="run_info", stats={"unlearn": 1, "total": 1})
    send(**job(1, cell="npo/wagle"))
    log.write_text(f"at work\n{long}\n")
    send("RuleException:\nCalledProcessError in file x", logging.ERROR, event="error")
    send(event="job_error", level=logging.ERROR, jobid=1, rule_name="unlearn", log=[str(log)])
    send("Exiting because a job execution failed. Look above for error messages")
    handler.close()
    text = stream.getvalue()
    assert "failed: unlearn npo/wagle\n" in text and f"  {long.rstrip()}" in text
    assert "Rule" not in text and text.count("error:") == 1 and text.endswith("1 failed\n")


def test_a_second_attempt_that_succeeds_is_no_failure(shown, tmp_path):
    send, handler, stream = shown
    old, slurm = tmp_path / "job.log", tmp_path / "slurm.log"
    old.write_text("error: of an earlier run\n")
    os.utime(old, (0, 0))
    send(event="run_info", stats={"unlearn": 1, "total": 1})
    send(**job(1))
    slurm.write_text("starting\nKilled\n")
    failed = {"event": "job_error", "jobid": 1, "rule_name": "unlearn"}
    send(**failed, log=[str(old), str(slurm)], rule_msg="SLURM status is: 'CANCELLED'")
    send(**job(1))
    send(event="job_finished", job_id=1)
    handler.close()
    text = stream.getvalue()
    assert "CANCELLED" in text and "Killed" in text and "earlier" not in text
    assert text.endswith("1 of 1 jobs done in 0:50 min\n")


def test_messages_that_matter_pass_and_the_rest_is_for_the_log_file(shown):
    send, _, stream = shown
    for message in ("Select jobs to execute...", "Execute 3 jobs...", "Building DAG of jobs..."):
        send(message)
    send("Nothing to be done (all requested files are present and up to date).")
    send("Trying to restart job 3.", logging.WARNING)
    assert stream.getvalue().splitlines() == [
        "Nothing to be done (all requested files are present and up to date).",
        "Trying to restart job 3.",
    ]


def test_causes_without_an_error_line(tmp_path):
    quiet, slurm = tmp_path / "job.log", tmp_path / "slurm.log"
    quiet.write_text("step 1\nstep 2\n")
    slurm.write_text("slurmstepd: error: Detected 1 oom_kill event\n")
    assert console.causes([str(quiet)]) == ["step 1", "step 2"]
    assert console.causes([str(quiet), str(slurm)]) == [
        "slurmstepd: error: Detected 1 oom_kill event"
    ]
    assert "killed" in console.causes([str(tmp_path / "none.log")])[0]


def test_where_to_look_names_the_first_cause_of_this_run(tmp_path):
    for age, name in ((100, "old"), (20, "first"), (10, "second")):
        path = tmp_path / f"{name}.log"
        path.write_text(f"error: {name}\n")
        os.utime(path, (1000 - age, 1000 - age))
    assert console.where_to_look(str(tmp_path), 950).endswith("first.log:\n  error: first")
    assert "none of this run" in console.where_to_look(str(tmp_path), 2000)


@pytest.mark.parametrize(
    ("asked", "switch", "taken"),
    [
        ({}, None, True),
        ({"dryrun": True}, None, False),
        ({"verbose": True}, None, False),
        ({}, "plain", False),
    ],
)
def test_snakemakes_own_output_is_left_where_more_is_asked_for(monkeypatch, asked, switch, taken):
    monkeypatch.delenv(console.SWITCH, raising=False)
    if switch:
        monkeypatch.setenv(console.SWITCH, switch)
    logger, handler = logging.Logger("x"), logging.StreamHandler(io.StringIO())
    handler.name = "DefaultStreamHandler"
    handler.filters = [SimpleNamespace(filter=lambda record: True, **asked)]
    logger.addHandler(handler)
    console.follow(logger)
    assert isinstance(logger.handlers[0], console.Handler) is taken
    assert (os.environ.get(console.SWITCH) == "on") is taken
    os.environ.pop(console.SWITCH, None)
