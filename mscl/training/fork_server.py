"""The server that forks a loader's processes: ready before it is asked for one, and deaf to Ctrl-C.

It first imports PyTorch, which takes seconds. A process that was asked for meanwhile by a command that is then stopped
would be forked all the same, and complain below the command's last words that its locks are gone.
"""

import multiprocessing
from collections.abc import Sequence
from functools import cache
from multiprocessing import forkserver

from mscl.orphans import deaf_to_interrupts


def start_fork_server(modules: Sequence[str]) -> None:
    """Start the server, unless it was started; it imports while this process goes on.

    Args:
        modules: to import once, in the server, for all that it forks.
    """
    forkserver.set_forkserver_preload(list(modules))
    with deaf_to_interrupts():  # the server ignores Ctrl-C only after its imports
        forkserver.ensure_running()


@cache
def await_fork_server() -> None:
    """Wait until the server that was started forks: have it fork a process that does nothing and holds nothing."""
    first = multiprocessing.get_context("forkserver").Process(target=_nothing)
    first.start()
    first.join()


def _nothing() -> None:
    pass
