"""How many runs work in one workspace at a time.

Two runs never spoil each other's results: each result has a lock of its own. This is about the machine, which does
not get faster by computing two pipelines side by side. It is a file lock and not one of Prefect's concurrency limits,
for the kernel drops it when its holder dies, however it dies; a killed holder of Prefect's blocks for minutes.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.workspace import Workspace

_POLL_SECONDS = 0.5


@contextmanager
def workspace_slot(workspace: Workspace, *, limit: int, say: Callable[[str], None]) -> Iterator[None]:
    """Wait for one of the workspace's `limit` slots and hold it; 0: there is no limit.

    Raises:
        StorageError: the workspace cannot be written.
    """
    if not limit:
        yield
        return
    workspace.prepare()
    folder = workspace.root / ".locks"
    folder.mkdir(exist_ok=True)
    descriptor = _take(folder, limit)
    if descriptor is None:
        say(
            f"{limit} other run(s) are working in {workspace.root}; waiting for one to end "
            "(runtime.runs_per_workspace sets how many may)"
        )
    while descriptor is None:
        time.sleep(_POLL_SECONDS)  # not a blocking lock: a cancelled run must hear of it
        descriptor = _take(folder, limit)
    try:
        yield
    finally:
        os.close(descriptor)


def _take(folder: Path, limit: int) -> int | None:
    for number in range(limit):
        descriptor = os.open(folder / f"run-{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        return descriptor
    return None
