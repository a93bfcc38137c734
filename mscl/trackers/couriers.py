"""Telling trackers of a run while it works: each in a thread of its own, which may fail or hang without holding it up.

`.trackers.json` in the run's folder remembers its id and how far each tracker was told, so that a run which goes on
continues its curves: nothing twice, and what a tracker missed, or came too late for, is made up for.
"""

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread

from mscl.errors import one_line
from mscl.trackers.named import TENSORBOARD, tracker_named
from mscl.trackers.tracker import Ending, TrackedRun, Tracker
from mscl.trackers.tracking import Tracking
from storage.atomic import write_atomic
from storage.errors import StorageError

STATE_NAME = ".trackers.json"
CLOSE_SECONDS = 120.0
"""How long a run that is done waits for its trackers."""
LEAVE_SECONDS = 20.0
"""How long one does that was stopped or failed: who stopped it waits for it."""


class Couriers:
    """All trackers of one run.

    Args:
        folder: of the run.
        first_step: steps that are done.
        last_step: of the last row that was written, which may lie past a checkpoint; 0: it begins.
        warn: told in one line what a tracker failed at.
    """

    def __init__(
        self, tracking: Tracking, folder: Path, *, warn: Callable[[str], None], first_step: int = 0, last_step: int = 0
    ) -> None:
        self._warn = warn
        state = _State(folder / STATE_NAME)
        state.leave_out_others(tracking.trackers, last_step)
        run = TrackedRun(
            id=state.id, name=tracking.name, stage=tracking.stage, folder=folder, local=Path(tracking.local or folder),
            encoder=tracking.encoder, first_step=first_step, settings=tracking.settings, lineage=tracking.lineage,
        )  # fmt: skip
        self._all = [_Courier(name, run, state, last_step, warn) for name in tracking.trackers]

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of a step, for those that were not told of them by an earlier process."""
        for courier in self._all:
            if step > courier.since:
                courier.give(lambda tracker: tracker.log(step, values), step)

    def note(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers that are told once, whoever knows of the step already."""
        for courier in self._all:
            courier.give(lambda tracker: tracker.log(step, values), step)

    def add_page(self, path: Path) -> None:
        """The report."""
        for courier in self._all:
            courier.give(lambda tracker: tracker.add_page(path))

    def close(self, ending: Ending) -> None:
        """Wait until everything is kept, but no longer than `CLOSE_SECONDS`."""
        for courier in self._all:
            courier.give(lambda tracker: tracker.finish(ending))
            courier.end()
        until = time.monotonic() + (CLOSE_SECONDS if ending == "finished" else LEAVE_SECONDS)
        for courier in self._all:
            if not courier.ended(until):
                courier.leave()
                self._warn(f"tracker {courier.name} does not answer and is left; {_KEPT}")


_KEPT = "nothing of the run is lost, its own files have everything"
_Errand = tuple[Callable[[Tracker], None], int]


class _Courier:
    """One tracker and its thread."""

    def __init__(
        self, name: str, run: TrackedRun, state: "_State", last_step: int, warn: Callable[[str], None]
    ) -> None:
        self.name, self._state, self._warn = name, state, warn
        self.since = state.told(name, last_step)
        """What it was told of by earlier processes."""
        if name == TENSORBOARD:  # it drops what lies past the checkpoint
            self.since = min(self.since, run.first_step)
        self._last = self.since
        self._failed = False
        self._errands: SimpleQueue[_Errand | None] = SimpleQueue()
        self._thread = Thread(target=self._work, args=(run,), name=f"tracker {name}", daemon=True)
        try:
            # Here and not in the thread: two threads that import parts of PyTorch at once may see half a module.
            self._make = tracker_named(name)
            self._thread.start()
        except Exception as error:  # a library that cannot be imported
            self._fail(error)

    def give(self, do: Callable[[Tracker], None], step: int = 0) -> None:
        """To be done in its turn."""
        if not self._failed:
            self._errands.put((do, step))

    def end(self) -> None:
        """Nothing comes any more."""
        self._errands.put(None)

    def ended(self, until: float) -> bool:
        """Whether it has done everything, or failed, by a moment of `time.monotonic`."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, until - time.monotonic()))
        return not self._thread.is_alive()

    def leave(self) -> None:
        """It does not answer: what it was not told of is made up for when the run goes on."""
        self._failed = True
        with suppress(StorageError):
            self._state.note(self.name, self._last)

    def _work(self, run: TrackedRun) -> None:
        try:
            tracker = self._make(run)
            if not self._failed:
                self._state.note(self.name, None)
            while (errand := self._errands.get()) is not None and not self._failed:
                do, step = errand
                do(tracker)
                self._last = max(self._last, step)
        except (Exception, SystemExit) as error:  # whatever a stranger's code raises
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self.leave()
        when = f"after step {self._last}" if self._last else "at its beginning"
        self._warn(f"tracker {self.name} failed {when} and is left out ({one_line(error, named=True)}); {_KEPT}")


class _State:
    """`.trackers.json`: the run's id, and tracker -> last step it was told of, null where it was told of every row."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        try:
            read = json.loads(path.read_bytes())
            self.id, self._told = str(read["id"]), dict(read["told"])
        except (OSError, ValueError, KeyError, TypeError):
            self.id, self._told = uuid.uuid4().hex[:8], {}

    def told(self, name: str, last_step: int) -> int:
        """The last step that a tracker was told of; 0 of a new one."""
        step = self._told.get(name, 0)
        return last_step if step is None else step if isinstance(step, int) else 0

    def leave_out_others(self, names: Sequence[str], last_step: int) -> None:
        """What is written from now on, trackers that were told of every row and are not among these do not know."""
        for name, step in list(self._told.items()):
            if step is None and name not in names:
                with suppress(StorageError):
                    self.note(name, last_step)

    def note(self, name: str, step: int | None) -> None:
        """How far a tracker was told, from now on."""
        with self._lock:
            self._told[name] = step
            write_atomic(self._path, json.dumps({"id": self.id, "told": self._told}).encode())
