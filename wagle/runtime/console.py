"""What a person sees of a run: one line with the time left, and each failed job's cause whole.

A terminal has the line redrawn; a file or a CI log gets one line in 30 s. Snakemake's own account
of every job is in .snakemake/log/, as ever. WAGLE_CONSOLE=plain, a dry run, --verbose and --quiet
print it here too.

Notable: this takes the place of Snakemake's own output handler when the rules are read. Its logger
plugins come by the name of an installed package, which it does not find in an editable install.
Time left is what the jobs to come take, divided by how many ran at once so far. Each takes as long
as its rule's finished jobs did on average. Left out: the time in a cluster's queue.
"""

import logging
import os
import re
import sys
import time
from collections import Counter
from pathlib import Path

EVERY = 30  # seconds between two lines where the output is no terminal
# `plain` leaves Snakemake's output alone; a job that finds `on` need not print its cause itself.
SWITCH = "WAGLE_CONSOLE"
CAUSE = re.compile(r"(slurmstepd: )?error:")
NOISE = re.compile(
    r"Select jobs|Execute \d+ jobs|Assuming unrestricted|Using shell|host: |Building DAG|Provided |"
    r"Rules claiming|Removing temporary|Conda env|Job stats|Job \d+ has been submitted|Group job |"
    r"Shell command|Elapsed time|RuleException:\s+CalledProcessError|Exiting because a job|"
    r"(WorkflowError:\s*)?At least one job"
)


def follow(logger: logging.Logger) -> None:
    """Take the place of Snakemake's handler for the terminal, unless more is asked for."""
    ours = [handler for handler in logger.handlers if handler.name == "DefaultStreamHandler"]
    if os.environ.get(SWITCH) == "plain" or not ours or not ours[0].filters:
        return
    asked = vars(ours[0].filters[0])
    if any(asked.get(key) for key in ("dryrun", "verbose", "debug_dag", "quiet")):
        return
    os.environ[SWITCH] = "on"
    logger.removeHandler(ours[0])
    logger.addHandler(Handler(getattr(ours[0], "stream", sys.stderr)))


class Run:
    """Jobs of a run: how many of each rule are to come, and how long those that are done took."""

    def __init__(self, counts: dict[str, int], now: float):
        self.left, self.total, self.began = Counter(counts), sum(counts.values()), now
        self.started: dict[int, tuple[str, str, float]] = {}
        self.took: dict[str, list[float]] = {}

    def start(self, jobid: int, rule: str, what: str, now: float) -> None:
        self.started[jobid] = (rule, what, now)

    def finish(self, jobid: int, now: float) -> None:
        rule, _, began = self.started.pop(jobid, ("", "", now))
        if self.left[rule] > 0:
            self.left[rule] -= 1
            self.took.setdefault(rule, []).append(now - began)

    def fail(self, jobid: int) -> str:
        """The failed job by name."""
        rule, what, _ = self.started.pop(jobid, ("a job", "", 0.0))
        return f"{rule} {what}".strip()

    @property
    def done(self) -> int:
        return self.total - self.left.total()

    def seconds_left(self, now: float) -> float | None:
        """None as long as too little is known."""
        every = [seconds for one in self.took.values() for seconds in one]
        if len(every) < 3 or now <= self.began:
            return None
        mean, at_once = sum(every) / len(every), max(1.0, sum(every) / (now - self.began))
        of_rule = {rule: sum(one) / len(one) for rule, one in self.took.items()}
        return sum(n * of_rule.get(rule, mean) for rule, n in self.left.items()) / at_once

    def line(self, now: float) -> str:
        left = self.seconds_left(now)
        ends = "" if left is None or not self.left.total() else f", about {clock(left)} left"
        running = Counter(rule for rule, _, _ in self.started.values())
        names = ", ".join(f"{rule} x{n}" if n > 1 else rule for rule, n in running.items())
        share = 100 * self.done // max(1, self.total)
        at = f" | {names}" if names else ""
        return (
            f"{self.done} of {self.total} jobs ({share} %) in {clock(now - self.began)}{ends}{at}"
        )


def clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{seconds:02d} min"


def causes(logs: list[str], since: float = 0.0) -> list[str]:
    """The lines of a failed job's logs that say why, whole; where none does, the last ones.

    A log that was written before `since` is an earlier attempt's.
    """
    last: list[str] = []
    for path in logs:
        lines = _lines(path) if _written(path) >= since else []
        if found := [line for line in lines if CAUSE.match(line)]:
            return found
        last = [line for line in lines if line.strip()][-15:] or last
    return last or ["error: it ended without a word: killed, out of memory, or never started"]


def _lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _written(path: str | Path) -> float:
    try:
        return Path(path).stat().st_mtime
    except OSError:
        return 0.0


def where_to_look(folder: str, since: float) -> str:
    """What a failed run says last: the logs' folder, and the first cause written after `since`."""
    logs = [path for path in Path(folder).rglob("*.log") if path.stat().st_mtime >= since]
    for path in sorted(logs, key=lambda path: path.stat().st_mtime):
        if found := [line for line in _lines(path) if CAUSE.match(line)]:
            return f"Logs are below {folder}. The first cause, in {path}:\n  {found[0]}"
    return (
        f"Logs are below {folder}; none of this run names a cause in a line that starts with error:"
    )


class Handler(logging.Handler):
    """Writes what matters of Snakemake's log records, told apart by their `event`, to `stream`."""

    def __init__(self, stream):
        from rich.console import Console

        super().__init__()
        self.console = Console(file=stream, highlight=False)
        self.run = self.live = None
        self.failed: dict[int, str] = {}
        self.since: dict[int, float] = {}
        self.last = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._show(record, time.monotonic())
        except Exception:
            self.handleError(record)

    def _show(self, record: logging.LogRecord, now: float) -> None:
        event = getattr(record, "event", None)
        if event == "run_info" and self.run is None:
            counts = {rule: n for rule, n in record.stats.items() if rule != "total"}
            self.run, self.last = Run(counts, now), now
            self._begin()
        elif event == "job_info" and self.run:
            what = " ".join(map(str, record.wildcards.values()))
            self.run.start(record.jobid, record.rule_name, what, now)
            self.since[record.jobid] = time.time() - 1  # file systems' clocks are coarse
            self._progress(now)
        elif event == "job_finished" and self.run:
            self.run.finish(record.job_id, now)
            self.failed.pop(record.job_id, None)  # a second attempt
            self._progress(now)
        elif event == "job_error":
            self._failure(record)
        elif event == "error" or event is None:
            self._message(record)

    def _begin(self) -> None:
        jobs = ", ".join(f"{n} {rule}" for rule, n in self.run.left.most_common() if rule != "all")
        self._print(f"{self.run.total} jobs: {jobs}")
        if self.console.is_terminal:
            from rich.live import Live

            self.live = Live(get_renderable=self._line, console=self.console, transient=True)
            self.live.start()

    def _line(self):
        from rich.text import Text

        filled = 20 * self.run.done // max(1, self.run.total)
        bar = "━" * filled + "╌" * (20 - filled)
        return Text(f"{bar} {self.run.line(time.monotonic())}", no_wrap=True, overflow="ellipsis")

    def _progress(self, now: float) -> None:
        if self.live is None and now - self.last >= EVERY:
            self.last = now
            self._print(self.run.line(now))

    def _failure(self, record: logging.LogRecord) -> None:
        name = self.run.fail(record.jobid) if self.run else record.rule_name
        aux = [v for v in getattr(record, "aux", {}).values() if isinstance(v, (str, os.PathLike))]
        said = causes([*record.log, *map(str, aux)], self.since.get(record.jobid, 0.0))
        self.failed[record.jobid] = name
        self._print(f"failed: {name}", "bold red")
        if message := getattr(record, "rule_msg", None):  # such as what Slurm says of it
            self._print(f"  {message}", "red")
        for line in said:
            self._print(f"  {line}", "red")
        self._print(f"  log: {', '.join(record.log) or 'none'}")

    def _message(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message in ("", "None") or NOISE.match(message) or record.levelno < logging.INFO:
            return
        style = {logging.ERROR: "red", logging.WARNING: "yellow"}.get(record.levelno, "")
        self._print(message, style)

    def _print(self, text: str, style: str = "") -> None:
        from rich.text import Text

        self.console.print(Text(text, style=style), soft_wrap=True)

    def close(self) -> None:
        if self.live:
            self.live.stop()
            self.live = None
        if self.run:
            self._print(self._closing(time.monotonic()))
            self.run = None
        super().close()

    def _closing(self, now: float) -> str:
        took = f"{self.run.done} of {self.run.total} jobs done in {clock(now - self.run.began)}"
        return f"{took}; {len(self.failed)} failed" if self.failed else took
