"""How many runs work in one workspace at a time.

Two runs never spoil each other's results: each result has a lock of its own. This is about the machine, which does
not get faster by computing two pipelines side by side. It is a file lock and not one of Prefect's concurrency limits,
for the kernel drops it when its holder dies, however it dies; a killed holder of Prefect's blocks for minutes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from storage.errors import StorageError
from storage.locks import take_lock
from storage.workspace import Workspace

_POLL_SECONDS = 0.5


@contextmanager
def workspace_slot(workspace: Workspace, *, limit: int, say: Callable[[str], None]) -> Iterator[None]:
    """Wait for one of the workspace's `limit` slots and hold it; 0: there is no limit.

    A workspace that cannot be written has no slots: what is done in it can be reused, and the first stage that is not
    says what is wrong.
    """
    try:
        descriptor = _take(workspace, limit) if limit else None
    except StorageError:
        limit = 0
    if not limit:
        yield
        return
    if descriptor is None:
        say(
            f"{limit} other run(s) are working in {workspace.root}; waiting for one to end "
            "(runtime.runs_per_workspace sets how many may)"
        )
    while descriptor is None:
        time.sleep(_POLL_SECONDS)  # not a blocking lock: a cancelled run must hear of it
        descriptor = _take(workspace, limit)
    try:
        yield
    finally:
        os.close(descriptor)


def _take(workspace: Workspace, limit: int) -> int | None:
    for number in range(limit):
        descriptor = workspace.open_lock(f"run-{number}")
        if take_lock(descriptor, wait=False):
            return descriptor
        os.close(descriptor)
    return None
