"""Telling the server beside the work: what a person looks at must not keep a stage waiting.

A call of the API takes 80 ms and drawing a report more, tens of times a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import ParamSpec

P = ParamSpec("P")


@dataclass
class _Queue:
    thread: ThreadPoolExecutor
    calls: list[Future[None]] = field(default_factory=list)


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
    for call in queue.calls:
        call.result()


def later(call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call in the context of here and now: what it leaves belongs to this task run. At once where no `beside` is."""
    queue = _queue.get()
    if queue is None:
        call(*args, **kwargs)
        return
    queue.calls = [past for past in queue.calls if not past.done() or past.exception()]  # stages may take weeks
    queue.calls.append(queue.thread.submit(copy_context().run, partial(call, *args, **kwargs)))
