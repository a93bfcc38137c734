"""Which rank took the others with it."""

import signal
from collections.abc import Mapping

from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from mscl.training.launch import STOPPED_CODE

_SECONDS_TO_KILL = 30
"""How long torchrun waits between SIGTERM to the other ranks and SIGKILL."""
_LOST_PEER = ("gloo/transport", "Connection closed by peer", "DistBackendError", "DistNetworkError")
"""What gloo, NCCL and PyTorch's store say in a rank that waits for one that is gone."""


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
    code, told = failure.exitcode, recorded_traceback(failure.message)
    if told:
        return 2 if any(words in told for words in _LOST_PEER) else 1
    killed_by_agent = code == -signal.SIGKILL and failure.timestamp - earliest >= _SECONDS_TO_KILL - 1
    if code in (STOPPED_CODE, -signal.SIGTERM) or killed_by_agent:
        return 2
    # SIGABRT is how NCCL ends a rank whose peer is gone.
    return 0 if code < 0 and code != -signal.SIGABRT else 1


def recorded_traceback(message: object) -> str:
    """The traceback that the rank recorded; a rank that left with a code of its own has said why already."""
    recorded = message.get("extraInfo") if isinstance(message, dict) else None
    return str(recorded["py_callstack"]) if isinstance(recorded, dict) and "py_callstack" in recorded else ""
