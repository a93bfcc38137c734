"""Calls of Prefect's API beside the work: what a person looks at must not keep a stage waiting.

A call takes 80 ms and drawing a report more, tens of times a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from typing import ParamSpec

P = ParamSpec("P")


class _Calls:
    """Calls that a thread makes one after the other."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self._thread = thread
        self.left: list[Future[None]] = []

    def add(self, call: Callable[[], None]) -> None:
        self.left = [past for past in self.left if not past.done() or past.exception()]  # stages may take weeks
        # In the context of here and now: what the call leaves belongs to this task run.
        self.left.append(self._thread.submit(copy_context().run, call))


_calls: ContextVar[_Calls | None] = ContextVar("calls", default=None)


@contextmanager
def in_background() -> Iterator[None]:
    """Within, what is submitted goes into a thread of its own; the end waits for all of it.

    Raises:
        Exception: of the first call that raised one, unless the work itself did.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="background") as thread:
        calls = _Calls(thread)
        token = _calls.set(calls)
        try:
            yield
        finally:
            _calls.reset(token)
    for call in calls.left:
        call.result()


def submit(call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Make a call in the background; at once where no `in_background` is."""
    calls, bound = _calls.get(), partial(call, *args, **kwargs)
    if calls is None:
        bound()
    else:
        calls.add(bound)
