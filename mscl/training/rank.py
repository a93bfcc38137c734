"""One rank under torchrun: `python -m mscl.training.rank MODULE ARGUMENTS...` runs `MODULE.main(arguments)`.

The rank dies with the agent that started it, and its exception reaches the agent with the traceback.
"""

import importlib
import os
import sys

from mscl.orphans import die_with_parent

AGENT_VARIABLE = "MSCL_AGENT_PID"
"""Environment variable in which the agent tells its ranks its process id."""


def main() -> None:
    """Run the module's `main` and leave with the code it returns."""
    # SIGKILL, not SIGTERM: without the agent nobody would end a rank that waits for a dead peer. Before PyTorch is
    # imported, which may take long.
    die_with_parent(parent=int(os.environ.get(AGENT_VARIABLE, os.getppid())))
    from torch.distributed.elastic.multiprocessing.errors import record

    record(_run)()


def _run() -> None:
    module, *arguments = sys.argv[1:]
    sys.exit(importlib.import_module(module).main(arguments))


if __name__ == "__main__":
    main()
