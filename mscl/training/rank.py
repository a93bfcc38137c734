"""One rank: `python -m mscl.training.rank MODULE ARGUMENTS...` runs `MODULE.main(arguments)`.

Under torchrun it dies with the agent that started it, and its exception reaches the agent with the traceback. Alone it
is a child of the command, which it tells the same.
"""

import importlib
import os
import signal
import sys
import traceback

from mscl.milestones import reached
from mscl.orphans import die_with_parent
from mscl.training.launch import AGENT_VARIABLE, COMMAND_VARIABLE
from mscl.training.messages import Message, tell


def main() -> None:
    """Run the module's `main` and leave with the code it returns."""
    reached("rank started")
    # Before PyTorch is imported, which may take long.
    agent, command = os.environ.get(AGENT_VARIABLE), os.environ.get(COMMAND_VARIABLE)
    if agent or command is None:  # torchrun's: our agent's, or, on a further node, that of deploy/join.sh
        # SIGKILL, not SIGTERM: without the agent nobody would end a rank that waits for a dead peer.
        die_with_parent(parent=int(agent or os.getppid()))
        from torch.distributed.elastic.multiprocessing.errors import record

        record(_run)()
    else:
        # SIGTERM: there is no peer to wait for, and a checkpoint to write.
        die_with_parent(signal.SIGTERM, parent=int(command))
        try:
            _run()
        except Exception:  # the command is to hear of it, whatever it is
            tell(Message(exit_code=1, failure=traceback.format_exc()))
            raise


def _run() -> None:
    module, *arguments = sys.argv[1:]
    sys.exit(importlib.import_module(module).main(arguments))


if __name__ == "__main__":
    main()
