"""torchrun as a supervised child: `python -m mscl.training.agent PARENT_ID TORCHRUN_ARGUMENTS...`.

It ends with the process that started it, and tells it which rank failed first, and how.
"""

import os
import signal
import sys
from traceback import print_exc

from mscl.orphans import die_with_parent

_MEETING = (
    "give an address of the node that leads, which the others reach, start deploy/join.sh on each of them, and run the "
    "same command again"
)


def main(arguments: list[str]) -> int:
    """0 when all ranks ended well, 1 when one failed, `AGENT_STOPPED_CODE` when told to stop."""
    parent, *torchrun_arguments = arguments
    # SIGTERM, not SIGKILL: the ranks get the signal passed on and can write a checkpoint. Before PyTorch is imported,
    # which may take long: a command that is killed meanwhile must not wait for that.
    die_with_parent(signal.SIGTERM, parent=int(parent))
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.run import main as torchrun

    from mscl.errors import one_line
    from mscl.training.first_failure import first_to_fail, recorded_traceback
    from mscl.training.launch import AGENT_STOPPED_CODE, AGENT_VARIABLE, STANDALONE
    from mscl.training.loopback import keep_to_loopback
    from mscl.training.messages import Message, tell

    os.environ[AGENT_VARIABLE] = str(os.getpid())
    if STANDALONE in torchrun_arguments:
        keep_to_loopback()
    try:
        torchrun(torchrun_arguments)
    except ChildFailedError as error:
        rank, failure = first_to_fail(error.failures)
        traceback = recorded_traceback(failure.message)
        print(f"rank {rank} failed first, exit code {failure.exitcode}\n{traceback}", flush=True)
        tell(Message(rank=rank, exit_code=failure.exitcode, failure=traceback))
        return 1
    except SignalException:
        return AGENT_STOPPED_CODE
    except RendezvousError as error:
        print_exc()
        why = one_line(error.__cause__ or error, named=True)
        tell(Message(error=f"the nodes did not meet at runtime.rendezvous ({why}); {_MEETING}"))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
