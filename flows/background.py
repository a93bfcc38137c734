"""Telling the server beside the work: what a person looks at must not keep a stage waiting.

A call of the API takes 80 ms and drawing a report more, tens of times a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from typing import ParamSpec

P = ParamSpec("P")


class _Queue:
    """A thread that makes calls one after the other, some of them not before they are let go."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self._thread = thread
        self._held: list[Callable[[], None]] = []
        self.calls: list[Future[None]] = []

    def add(self, call: Callable[[], None], *, held: bool) -> None:
        # In the context of here and now: what the call leaves belongs to this task run.
        call = partial(copy_context().run, call)
        if held:
            self._held.append(call)
        else:
            self._submit(call)

    def release(self) -> None:
        for call in self._held:
            self._submit(call)
        self._held = []

    def _submit(self, call: Callable[[], None]) -> None:
        self.calls = [past for past in self.calls if not past.done() or past.exception()]  # stages may take weeks
        self.calls.append(self._thread.submit(call))


_queue: ContextVar[_Queue | None] = ContextVar("queue", default=None)


@contextmanager
def beside() -> Iterator[None]:
    """Within, `later` puts calls into a thread of its own, which makes them one after the other; the end waits for all.

    Raises:
        Exception: of the first call that raised one, unless the work itself did.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="beside") as thread:
        queue = _Queue(thread)
        token = _queue.set(queue)
        try:
            yield
        finally:
            _queue.reset(token)
            queue.release()
    for call in queue.calls:
        call.result()


def later(call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call beside the work; at once where no `beside` is."""
    _put(partial(call, *args, **kwargs), held=False)


def once_busy(call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """As `later`, but not before `busy`: what takes the interpreter for long must not delay the start of a stage."""
    _put(partial(call, *args, **kwargs), held=True)


def busy() -> None:
    """A stage's work begins: let go what `once_busy` holds."""
    queue = _queue.get()
    if queue is not None:
        queue.release()


def _put(call: Callable[[], None], *, held: bool) -> None:
    queue = _queue.get()
    if queue is None:
        call()
    else:
        queue.add(call, held=held)
