"""Trackers of a user's own: one that writes down what it is told, one that breaks, one that never answers."""

import json
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any

from mscl.trackers.tracker import Ending, TrackedRun

ANSWER = Event()


class Writing:
    """Lines of JSON in the run's folder."""

    def __init__(self, run: TrackedRun) -> None:
        self.path = run.folder / "told.jsonl"
        self._write(id=run.id, name=run.name, settings=run.settings, lineage=run.lineage, encoder=run.encoder)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._write(step=step, values=dict(values))

    def add_page(self, path: Path) -> None:
        self._write(page=path.name)

    def finish(self, ending: Ending) -> None:
        self._write(ending=ending)

    def _write(self, **what: Any) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(what) + "\n")


class Breaking(Writing):
    """Takes two steps in each process."""

    taken = 0

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.taken += 1
        if self.taken > 2:
            raise ConnectionError("the server\nis gone")
        super().log(step, values)


class Hanging(Writing):
    """Takes nothing before `ANSWER` is set."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        ANSWER.wait()


class HangingAfterTwo(Writing):
    """Takes `most` steps, and the next one never."""

    most = 2

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if step > self.most:
            Event().wait()
        super().log(step, values)


NO_TRACKER = "text"
