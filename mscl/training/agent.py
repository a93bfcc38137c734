"""torchrun as a supervised child: `python -m mscl.training.agent PARENT_ID TORCHRUN_ARGUMENTS...`.

It ends with the process that started it, and tells it which rank failed first, and how.
"""

import os
import signal
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

from mscl.orphans import die_with_parent
from mscl.training.launch import AGENT_STOPPED_CODE, STANDALONE
from mscl.training.loopback import keep_to_loopback
from mscl.training.messages import Message, tell
from mscl.training.rank import AGENT_VARIABLE


def main(arguments: list[str]) -> int:
    """0 when all ranks ended well, 1 when one failed, `AGENT_STOPPED_CODE` when told to stop."""
    parent, *torchrun_arguments = arguments
    os.environ[AGENT_VARIABLE] = str(os.getpid())
    # SIGTERM, not SIGKILL: the ranks get the signal passed on and can write a checkpoint.
    die_with_parent(signal.SIGTERM, parent=int(parent))
    if STANDALONE in torchrun_arguments:
        keep_to_loopback()
    try:
        torchrun(torchrun_arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        traceback = _traceback(failure.message)
        print(f"rank {rank} failed first, exit code {failure.exitcode}\n{traceback}", flush=True)
        tell(Message(rank=rank, exit_code=failure.exitcode, failure=traceback))
        return 1
    except SignalException:
        return AGENT_STOPPED_CODE
    return 0


def _traceback(message: object) -> str:
    """The traceback that the rank recorded; a rank that left with a code of its own has said why already."""
    recorded = message.get("extraInfo") if isinstance(message, dict) else None
    return str(recorded["py_callstack"]) if isinstance(recorded, dict) and "py_callstack" in recorded else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
