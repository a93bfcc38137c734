"""Work spread over processes: a live count of finer units, workers that die with their parent, crashes survived."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.sharedctypes import Synchronized
from typing import Protocol, TypeVar

from mscl.devices import cores
from mscl.errors import DataError
from mscl.orphans import die_with_parent
from mscl.progress import Progress

Item = TypeVar("Item")
Done = TypeVar("Done")
Tick = Callable[[int], None]

_POLL_SECONDS = 0.25


class Spread(Protocol):
    """How a stage's shards are worked on: over processes here, or over a cluster."""

    def __call__(
        self, function: Callable[[Item, Tick], Done], items: Sequence[Item], *, progress: Progress
    ) -> Iterator[Done]:
        """Results of `function(item, tick)` as they are ready; `tick(n)` counts finer units for `progress`."""


_counter: Synchronized[int] | None = None


def run_in_processes(
    function: Callable[[Item, Tick], Done], items: Sequence[Item], *, workers: int, progress: Progress
) -> Iterator[Done]:
    """Results of `function(item, tick)` as they are ready, from `workers` processes (0: one per core).

    `tick(n)` in a worker advances `progress` by n units. An exception of one ends the work and is raised here.

    Raises:
        DataError: an item takes its process down when it is worked on alone, so it is the one to blame.
    """
    todo = list(items)
    processes = min(workers or cores(), max(1, len(todo)))
    for attempt_processes in (processes, processes, 1):
        if not todo:
            return
        try:
            for item, done in _attempt(function, todo, attempt_processes, progress):
                todo.remove(item)
                yield done
        except BrokenProcessPool:
            progress.say(f"a worker process died; {len(todo)} parts of the work are tried again")
    if todo:
        raise DataError(f"a worker process died three times, the last time alone at {todo[0]}; leave that out")


def _attempt(
    function: Callable[[Item, Tick], Done], items: list[Item], processes: int, progress: Progress
) -> Iterator[tuple[Item, Done]]:
    # spawn: the parent may hold threads (Prefect, OpenCV), which fork would copy in a broken state.
    context = multiprocessing.get_context("spawn")
    counter: Synchronized[int] = context.Value("q", 0)
    seen, queue = 0, iter(list(items))
    pool = ProcessPoolExecutor(
        processes, mp_context=context, initializer=_start_worker, initargs=(counter, os.getpid())
    )
    others = set(multiprocessing.active_children())
    running: dict[Future[Done], Item] = {}
    try:
        while True:
            # A short queue: what a kill or an error throws away stays small.
            while len(running) < processes + (processes > 1) and (item := next(queue, None)) is not None:
                running[pool.submit(_call, function, item)] = item
            if not running:
                return
            finished, _ = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            now = counter.value
            progress.advance(now - seen)
            seen = now
            for future in finished:
                yield running.pop(future), future.result()
    finally:
        if running:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
        progress.advance(counter.value - seen)


def _start_worker(counter: Synchronized[int], parent: int) -> None:
    global _counter
    _counter = counter
    die_with_parent(parent=parent)
    import cv2

    cv2.setNumThreads(1)  # one process per core is the parallelism


def _call(function: Callable[[Item, Tick], Done], item: Item) -> Done:
    return function(item, _tick)


def _tick(n: int) -> None:
    if _counter is not None:
        with _counter.get_lock():
            _counter.value += n
