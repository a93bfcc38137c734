"""torchrun as a supervised child: `python -m mscl.training.agent PARENT_ID TORCHRUN_ARGUMENTS...`.

It ends with the process that started it, and tells it which rank failed first, and how.
"""

import os
import signal
import sys
from collections.abc import Mapping

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.run import main as torchrun

from mscl.orphans import die_with_parent
from mscl.training.launch import AGENT_STOPPED_CODE, STANDALONE, STOPPED_CODE
from mscl.training.loopback import keep_to_loopback
from mscl.training.messages import Message, tell
from mscl.training.rank import AGENT_VARIABLE

_SECONDS_TO_KILL = 30
"""How long torchrun waits between SIGTERM to the other ranks and SIGKILL."""
_LOST_PEER = ("gloo/transport", "Connection closed by peer", "DistBackendError", "DistNetworkError")
"""What gloo, NCCL and PyTorch's store say in a rank that waits for one that is gone."""


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
        rank, failure = first_to_fail(error.failures)
        traceback = _traceback(failure.message)
        print(f"rank {rank} failed first, exit code {failure.exitcode}\n{traceback}", flush=True)
        tell(Message(rank=rank, exit_code=failure.exitcode, failure=traceback))
        return 1
    except SignalException:
        return AGENT_STOPPED_CODE
    return 0


def first_to_fail(failures: Mapping[int, ProcessFailure]) -> tuple[int, ProcessFailure]:
    """The rank that took the others with it, and how it ended.

    Times alone do not tell: a rank that dies by a signal is found at the next look, while its peers may have recorded
    before that look that they lost it.
    """
    earliest = min(failure.timestamp for failure in failures.values())

    def order(rank: int) -> tuple[int, int, int]:
        return _distance_from_cause(failures[rank], earliest), failures[rank].timestamp, rank

    first = min(failures, key=order)
    return first, failures[first]


def _distance_from_cause(failure: ProcessFailure, earliest: int) -> int:
    """0: died by a signal that nothing else in this job sends; 1: failed by itself; 2: followed another rank."""
    code, told = failure.exitcode, _traceback(failure.message)
    if told:
        return 2 if any(words in told for words in _LOST_PEER) else 1
    killed_by_agent = code == -signal.SIGKILL and failure.timestamp - earliest >= _SECONDS_TO_KILL - 1
    if code in (STOPPED_CODE, -signal.SIGTERM) or killed_by_agent:
        return 2
    # SIGABRT is how NCCL ends a rank whose peer is gone.
    return 0 if code < 0 and code != -signal.SIGABRT else 1


def _traceback(message: object) -> str:
    """The traceback that the rank recorded; a rank that left with a code of its own has said why already."""
    recorded = message.get("extraInfo") if isinstance(message, dict) else None
    return str(recorded["py_callstack"]) if isinstance(recorded, dict) and "py_callstack" in recorded else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
