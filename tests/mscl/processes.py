"""Processes that tests start, and whether they have ended."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil

from flows.server.background_processes import alive, family

__all__ = ["family", "survivors", "wait_until"]


def survivors(members: Iterable[psutil.Process]) -> list[str]:
    """Command lines of those that still run; a later process with the same id is not one of them."""
    found = []
    for member in members:
        with suppress(psutil.NoSuchProcess):
            if alive(member):
                found.append(f"{member.pid} {' '.join(member.cmdline())[-120:]}")
    return found


def wait_until(holds: Callable[[], bool], seconds: float = 150.0) -> None:
    """Wait for what is to happen; the bound is for a machine with much else to do."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.1)
