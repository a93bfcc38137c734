"""One rank under torchrun: `python -m mscl.training.worker MODULE ARGUMENTS...` runs `MODULE.main(arguments)`.

The rank dies with the agent that started it, and its exception reaches the agent with the traceback.
"""

import ctypes
import importlib
import os
import signal
import sys

from torch.distributed.elastic.multiprocessing.errors import record

AGENT_VARIABLE = "MSCL_AGENT_PID"
"""Environment variable in which the agent tells its ranks its process id."""
_PR_SET_PDEATHSIG = 1


def die_with_parent(number: signal.Signals, *, parent: int) -> None:
    """Ask Linux to send `number` to this process when the thread that started it ends; elsewhere nothing happens.

    Args:
        parent: process id of the parent as it was told to the child: if it is gone already, the signal comes at once.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


@record
def main() -> None:
    """Run the module's `main` and leave with the code it returns."""
    # SIGKILL, not SIGTERM: without the agent nobody would end a rank that waits for a dead peer.
    die_with_parent(signal.SIGKILL, parent=int(os.environ.get(AGENT_VARIABLE, os.getppid())))
    module, *arguments = sys.argv[1:]
    sys.exit(importlib.import_module(module).main(arguments))


if __name__ == "__main__":
    main()
