"""How far a stopped evaluation has come: its scoring log, and the answers of whole batches.

A job that is killed leaves both in a folder, and the same job continues there. Batches are formed
as in a run that nobody stopped, so that results have the same bytes.

Notable: lines carry the job's identity, so that another job's are ignored; a line that was cut by
the kill is too. Left out: half a scoring pass, which takes less time than the answers.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from wagle.runtime.files import flush

Prompt = tuple[int, ...]


class Progress:
    """The state of one evaluation job in folder `path`; `identity` says whose state counts."""

    def __init__(self, path: Path, identity: str):
        path.mkdir(parents=True, exist_ok=True)
        self.answers = Answers(path / "answers.jsonl", identity)
        self._log = path / f"{identity}.parquet"

    def scoring_log(self, target: Path, write: Callable[[Path], None]) -> None:
        """Put the scoring log at `target`: that of the stopped run, or what `write(path)` makes."""
        if not self._log.is_file():
            part = self._log.with_suffix(".part")
            write(part)
            flush(part)
            os.replace(part, self._log)
        shutil.copyfile(self._log, target)


class Answers:
    """Answers by the token ids of their prompts, as JSON lines."""

    def __init__(self, path: Path, identity: str):
        self.path, self.identity = path, identity

    def read(self) -> dict[Prompt, str]:
        """All answers of this job that are there whole."""
        known: dict[Prompt, str] = {}
        try:
            lines = self.path.read_text(encoding="utf-8").split("\n")[:-1]
        except OSError:
            return known
        for line in lines:
            try:
                identity, prompt, text = json.loads(line)
            except ValueError:
                continue
            if identity == self.identity:
                known[tuple(prompt)] = text
        return known

    def add(self, answers: dict[Prompt, str]) -> None:
        """Add a batch. A line that a kill cut before is closed first."""
        with open(self.path, "a", encoding="utf-8") as file:
            if file.tell() and not self.path.read_bytes().endswith(b"\n"):
                file.write("\n")
            for prompt, text in answers.items():
                file.write(json.dumps([self.identity, prompt, text]) + "\n")
        flush(self.path)
