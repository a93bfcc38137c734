"""What a loader's processes deliver, and what it says when they do not: killed, stuck, or short of shared memory."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Self

import psutil

from mscl.errors import UserError
from mscl.training.messages import say
from mscl.video.batch_memory import SHARED_MEMORY, PipedBatch, free_shared_bytes

LOOK_SECONDS = 5.0
"""How long a batch is waited for before the processes are looked at."""
PATIENCE_SECONDS = 180.0
"""How long they may deliver nothing while they do nothing."""
_WORKING = {psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP}
_BUSY_FRACTION = 0.01
"""Of one core: what waiting processes spend on waking up is far below."""
_MORE = f"give {SHARED_MEMORY} more (docker run --shm-size=2g; mount -o remount,size=2g {SHARED_MEMORY})"


class LoaderError(UserError):
    """The processes that load samples cannot go on."""


class Delivery:
    """Iterator over the batches of a DataLoader with workers, whose `timeout` is `LOOK_SECONDS`.

    Raises:
        LoaderError: a process died, or all of them have done nothing and delivered nothing for `PATIENCE_SECONDS`.
    """

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches: Iterator[Any] | None = batches
        self._told = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self._batches is None:
            raise StopIteration
        begun = time.monotonic()
        seconds_worked = None
        while True:
            looked = time.monotonic()
            try:
                return self._unpacked(next(self._batches))
            except (RuntimeError, EOFError, ConnectionError) as error:
                _raise_unless_late(error)
            before, seconds_worked = seconds_worked, _seconds_worked()
            waited = time.monotonic() - looked
            if _working() or (before is not None and seconds_worked - before > _BUSY_FRACTION * waited):
                begun = time.monotonic()
            elif time.monotonic() - begun > PATIENCE_SECONDS:
                raise LoaderError(
                    f"the processes that load samples have delivered nothing for {PATIENCE_SECONDS:.0f} s and do "
                    "nothing; the log holds what they said; run the same command again to go on"
                )

    def close(self) -> None:
        """Let go of the DataLoader's iterator, which ends its processes."""
        self._batches = None

    def _unpacked(self, batch: Any) -> Any:
        if not isinstance(batch, PipedBatch):
            return batch
        if not self._told:
            self._told = True
            say(
                f"shared memory ({SHARED_MEMORY}, {free_shared_bytes() / 1e6:.1f} MB free) has no room for batches of "
                f"{batch.num_bytes / 1e6:.1f} MB: they go through pipes, which is slower; {_MORE}"
            )
        return batch.unpacked()


def check_shared_memory(workers: int) -> None:
    """Refuse what torch would leave half started: every lock of its queues takes a page of shared memory.

    Raises:
        LoaderError: no room for them. Batches that have no room find a way by themselves, see `packed`.
    """
    if free_shared_bytes() < (16 + 4 * workers) * os.sysconf("SC_PAGE_SIZE"):
        raise LoaderError(
            f"{workers} processes that load samples cannot be started: {SHARED_MEMORY} has "
            f"{free_shared_bytes() / 1e6:.1f} MB free; {_MORE}, or set runtime.loader_workers=0"
        )


def _raise_unless_late(error: Exception) -> None:
    """torch has no types for its own errors; one that a source raised begins with the worker that raised it."""
    words = str(error)
    if words.startswith("DataLoader timed out"):
        return
    # A worker that dies with a batch on its way is missed at the other end of the connection.
    cut_off = isinstance(error, EOFError | ConnectionError) and not words.startswith("Caught ")
    if not cut_off and not words.startswith("DataLoader worker (pid"):
        raise error
    raise LoaderError(
        f"a process that loads samples died ({words or type(error).__name__}); most often memory ran out: lower "
        "runtime.loader_workers or the batch size, and run the same command again to go on"
    ) from error


def _workers() -> list[psutil.Process]:
    """Processes that `multiprocessing` has started here, whatever its start method; servers and tools are none."""
    found = []
    for child in multiprocessing.active_children():
        with suppress(psutil.Error):  # it ended
            found.append(psutil.Process(child.pid))
    return found


def _seconds_worked() -> float:
    """Processor time of the workers."""
    total = 0.0
    for process in _workers():
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _working() -> bool:
    """Whether one of them runs, waits for a core, or waits for a disk."""
    for process in _workers():
        with suppress(psutil.Error):
            if process.status() in _WORKING:
                return True
    return False
