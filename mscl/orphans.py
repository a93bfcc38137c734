"""Child processes that end with their parent, however it ends."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(number: signal.Signals = signal.SIGKILL, *, parent: int) -> None:
    """Ask Linux to send `number` to this process when the thread that started it ends; elsewhere nothing happens.

    Args:
        parent: process id of the parent as it was told to the child: if it is gone already, the signal comes at once.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)
