"""Work spread over processes: a live count of finer units, workers that die with their parent, crashes survived."""

from __future__ import annotations

import errno
import inspect
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.sharedctypes import Synchronized
from typing import Protocol, TypeVar

from mscl.devices import cores, device_of
from mscl.errors import CardError, DataError, UserError
from mscl.milestones import reached
from mscl.orphans import deaf_to_interrupts, die_with_parent
from mscl.progress import Progress

Item = TypeVar("Item")
Done = TypeVar("Done")
Tick = Callable[[int], None]

_POLL_SECONDS = 0.25
_GUARD = 'have it do so under `if __name__ == "__main__":`'


class Spread(Protocol):
    """How a stage's shards are worked on: over processes here, or over a cluster."""

    def __call__(
        self,
        function: Callable[[Item, Tick], Done],
        items: Sequence[Item],
        *,
        progress: Progress,
        gpus: Sequence[int] = (),
    ) -> Iterator[Done]:
        """Results of `function(item, tick)` as they are ready; `tick(n)` counts finer units for `progress`.

        Args:
            gpus: that the function computes on, through `worker_device`; none: it needs none.
        """


_counter: Synchronized[int] | None = None
_device = "cpu"


def worker_device() -> str:
    """The device that this process is to compute on: "cpu", "cuda:1"."""
    return _device


def set_worker_device(device: str) -> None:
    """Say what `worker_device` is in this process."""
    global _device
    _device = device


def refuse_while_imported() -> None:
    """Refuse to run where a worker imports the script that started it, as `multiprocessing` makes it do.

    A script that runs stages as soon as it is imported would wait in its own worker for the claim that it holds itself.

    Raises:
        UserError: the script does.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == "__mp_main__":
            raise UserError(f"{frame.f_code.co_filename} runs stages when it is imported; {_GUARD}")
        frame = frame.f_back


def run_in_processes(
    function: Callable[[Item, Tick], Done],
    items: Sequence[Item],
    *,
    workers: int,
    progress: Progress,
    gpus: Sequence[int] = (),
) -> Iterator[Done]:
    """Results of `function(item, tick)` as they are ready, from `workers` processes (0: one per core).

    `tick(n)` in a worker advances `progress` by n units. An exception of one ends the work and is raised here, but for
    a GPU that fails: the others take over what it had to do. Where a process died twice, what was in work is done one
    part at a time, which shows whether one of them is to blame; then the rest goes on in half as many processes.

    Args:
        gpus: dealt out to the workers in turn.

    Raises:
        DataError: an item takes its process down twice when it is worked on alone, so it is the one to blame.
        UserError: no process came so far as to work.
        CardError: the last of the GPUs failed.
    """
    todo, left, deaths = list(items), tuple(gpus), 0
    processes = min(workers or cores(), max(1, len(todo)))
    alone: list[Item] = []
    suspect: Item | None = None
    while todo:
        in_hand: dict[Future[Done], Item] = {}
        try:
            for item, done in _attempt(function, alone or todo, 1 if alone else processes, progress, left, in_hand):
                todo.remove(item)
                yield done
            alone = []
        except BrokenProcessPool as error:
            alone = [item for item in alone if item in todo]
            if alone and alone[0] is suspect:
                raise DataError(f"a worker process died twice alone at {suspect}; leave that out") from error
            if alone:
                suspect = alone[0]
                continue
            deaths += 1
            if deaths % 2:
                progress.say(f"a worker process died; {len(todo)} parts of the work are tried again")
                continue
            # One of them may take its process down, or memory does not suffice for so many processes.
            alone, processes = list(in_hand.values()) or todo[:1], max(1, processes // 2)
            progress.say(
                f"a worker process died again; what was in work is tried one part at a time, and then the rest in "
                f"{processes} process{'es' * (processes > 1)}"
            )
        except CardError as error:
            left = without(left, error, progress)
            alone = [item for item in alone if item in todo]


def without(gpus: Sequence[int], error: CardError, progress: Progress) -> tuple[int, ...]:
    """The GPUs that are left after one has failed, which is said.

    Raises:
        CardError: none is left.
    """
    left = tuple(gpu for gpu in gpus if device_of(0, (gpu,)) != error.device)
    if not left or len(left) == len(gpus):
        raise error
    others = ", ".join(device_of(0, (gpu,)) for gpu in left)
    progress.say(f"{error.device} failed ({error.reason}); its work goes to {others}")
    return left


def _attempt(
    function: Callable[[Item, Tick], Done],
    items: list[Item],
    processes: int,
    progress: Progress,
    gpus: Sequence[int],
    running: dict[Future[Done], Item],
) -> Iterator[tuple[Item, Done]]:
    """Items with their results; `running` holds what is in work, and after an error what was."""
    # spawn: the parent may hold threads (Prefect, OpenCV), which fork would copy in a broken state.
    context = multiprocessing.get_context("spawn")
    try:
        counter: Synchronized[int] = context.Value("q", 0)
        started: Synchronized[int] = context.Value("q", 0)
        pool = ProcessPoolExecutor(
            processes, mp_context=context, initializer=_start_worker,
            initargs=(counter, started, tuple(gpus), os.getpid()),
        )  # fmt: skip
    except OSError as full:
        if full.errno != errno.ENOSPC:
            raise
        raise UserError(
            "worker processes cannot be started: shared memory (/dev/shm) has no room for their locks; free some, or "
            "give it more (docker run --shm-size=2g; mount -o remount,size=2g /dev/shm)"
        ) from full
    seen, queue = 0, iter(list(items))
    failed: CardError | None = None
    others = set(multiprocessing.active_children())
    try:
        while True:
            # A short queue: what a kill or an error throws away stays small.
            # After a GPU has failed: what other workers have in hand, and no more.
            room = 0 if failed else processes + (processes > 1)
            while len(running) < room and (item := next(queue, None)) is not None:
                with deaf_to_interrupts():  # it starts a worker
                    future = pool.submit(_call, function, item)
                    running[future] = item
            if not running:
                if failed:
                    raise failed
                return
            finished, _ = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            now = counter.value
            progress.advance(now - seen)
            seen = now
            for future in finished:
                if isinstance(error := future.exception(), CardError):
                    failed = failed or error
                    del running[future]
                else:
                    result = future.result()
                    yield running.pop(future), result
    except BrokenProcessPool as error:
        if not started.value:
            raise UserError(
                f"no worker process could be started; its own words are above. A script that runs stages: {_GUARD}"
            ) from error
        raise
    finally:
        if running:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
        progress.advance(counter.value - seen)


def _start_worker(counter: Synchronized[int], started: Synchronized[int], gpus: Sequence[int], parent: int) -> None:
    global _counter
    _counter = counter
    with started.get_lock():
        set_worker_device(device_of(started.value, gpus))
        started.value += 1
    die_with_parent(parent=parent)
    import cv2

    cv2.setNumThreads(1)  # one process per core is the parallelism
    reached("worker started")


def _call(function: Callable[[Item, Tick], Done], item: Item) -> Done:
    return function(item, _tick)


def _tick(n: int) -> None:
    if _counter is not None:
        with _counter.get_lock():
            _counter.value += n
