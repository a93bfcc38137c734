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

from mscl.errors import ConfigError
from storage.workspace import Workspace

VARIABLE = "MSCL_RUNS_PER_WORKSPACE"
_POLL_SECONDS = 0.5
_held: set[Path] = set()


@contextmanager
def workspace_slot(workspace: Workspace, *, say: Callable[[str], None]) -> Iterator[None]:
    """Wait for one of the workspace's slots and hold it; a run that holds one lets its subflows in.

    There is one slot, or as many as the environment variable `MSCL_RUNS_PER_WORKSPACE` says (0: no limit).

    Raises:
        ConfigError: the variable is not a whole number.
        StorageError: the workspace cannot be written.
    """
    limit, root = _limit(), workspace.root
    if not limit or root in _held:
        yield
        return
    workspace.prepare()
    folder = root / ".locks"
    folder.mkdir(exist_ok=True)
    descriptor = _take(folder, limit)
    if descriptor is None:
        say(f"{limit} other run(s) are working in {root}; waiting for one to end ({VARIABLE} sets how many may)")
    while descriptor is None:
        time.sleep(_POLL_SECONDS)  # not a blocking lock: a cancelled run must hear of it
        descriptor = _take(folder, limit)
    _held.add(root)
    try:
        yield
    finally:
        _held.discard(root)
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


def _limit() -> int:
    text = os.environ.get(VARIABLE, "1")
    if not text.isdecimal():
        raise ConfigError(f"{VARIABLE} is {text!r}; give a whole number, 0 for no limit")
    return int(text)
