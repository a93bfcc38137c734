"""Which rank is blamed when several end: what torchrun found, and the one that took the others with it."""

import json
import signal
from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from mscl.training.first_failure import first_to_fail
from mscl.training.launch import STOPPED_CODE

NOW = 1_700_000_000
LOST = (
    "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer [127.0.0.1]:24"
)
OWN = "ValueError: a bad batch"


def failures(folder: Path, *ends: tuple[int, float, str]) -> ChildFailedError:
    """What torchrun raises: exit code, seconds, and recorded exception of each rank."""
    found = {}
    for rank, (code, seconds, told) in enumerate(ends):
        file = folder / f"error-{rank}.json"
        if told:
            info = {"py_callstack": f"Traceback\n{told}", "timestamp": str(int(NOW + seconds))}
            file.write_text(json.dumps({"message": {"message": told, "extraInfo": info}}))
        found[rank] = ProcessFailure(local_rank=rank, pid=100 + rank, exitcode=code, error_file=str(file))
        found[rank].timestamp = int(NOW + seconds)
    return ChildFailedError("job", found)


@pytest.mark.parametrize(
    ("ends", "blamed"),
    [
        # The peer of a killed rank records its exception before torchrun looks, and ends by itself, ...
        ([(1, 0, LOST), (-signal.SIGKILL, 1, "")], 1),
        # ... or is on its way out when torchrun ends it.
        ([(-signal.SIGTERM, 0, LOST), (-signal.SIGKILL, 1, "")], 1),
        ([(-signal.SIGTERM, 0, ""), (-signal.SIGSEGV, 0, "")], 1),
        ([(STOPPED_CODE, 0, ""), (-signal.SIGKILL, 0, "")], 1),
        ([(-signal.SIGABRT, 0, ""), (-signal.SIGKILL, 0, "")], 1),
        # Who neither ends nor listens is killed by torchrun after its grace.
        ([(-signal.SIGKILL, 31, ""), (1, 0, OWN)], 1),
        ([(-signal.SIGKILL, 0, ""), (-signal.SIGKILL, 30, "")], 0),
        ([(1, 0, LOST), (1, 1, OWN)], 1),
        ([(1, 0, LOST), (2, 1, "")], 1),
        # It waits for its peers when it has raised: the signal that ends it says nothing.
        ([(1, 5, LOST), (-signal.SIGTERM, 5, OWN)], 1),
        ([(1, 2, OWN), (1, 0, OWN)], 1),
        ([(STOPPED_CODE, 0, ""), (STOPPED_CODE, 0, "")], 0),
    ],
)
def test_the_rank_that_took_the_others_with_it(tmp_path: Path, ends: list[tuple[int, float, str]], blamed: int) -> None:
    error = failures(tmp_path, *ends)
    assert first_to_fail(error.failures) == (blamed, error.failures[blamed])
