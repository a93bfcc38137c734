"""Child processes that end with their parent, however it ends, and leave Ctrl-C to it."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

GRACE_SECONDS = 60.0
"""Time that a training process gets between SIGTERM and SIGKILL: a step and a checkpoint fit in."""
_PR_SET_PDEATHSIG = 1


def die_with_parent(number: signal.Signals | None = None, *, parent: int) -> None:
    """Ask Linux to send a signal to this process when the thread that started it ends; elsewhere nothing happens.

    Args:
        number: SIGKILL unless another is given.
        parent: process id of the parent as it was told to the child: if it is gone already, the signal comes at once.
    """
    if not sys.platform.startswith("linux"):
        return
    number = number or signal.SIGKILL
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def die_with_starter() -> None:
    """End this process of `multiprocessing` when the one that asked for it ends, on every start method and system.

    The kernel's signal cannot do this: under "forkserver" the parent is the fork server, which ends only after all
    that it has forked.
    """
    starter = multiprocessing.parent_process()
    if starter is None:
        raise RuntimeError("not a process of multiprocessing")

    def wait() -> None:
        starter.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="die-with-starter", daemon=True).start()


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes that are started in this context never hear Ctrl-C, which reaches all that a terminal runs.

    One that did while Python starts or imports would complain below the command's last words. Whoever started it ends
    it. What is blocked here is blocked in what is started here; `multiprocessing`'s tracker, which would be started
    with the first process, takes the block away.
    """
    from multiprocessing import resource_tracker  # only Unix has it

    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
