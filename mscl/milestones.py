"""How far each process of a run has come, and when: for whoever asks where the time between command and work goes.

With MSCL_MILESTONES=FILE in the environment, every process appends lines "<seconds since 1970> <process id> <what>" to
that file; without it, nothing is written. `benchmarks/gpu_extract.py` reads them.
"""

import os
import time

from mscl.errors import UserError

VARIABLE = "MSCL_MILESTONES"


def reached(what: str) -> None:
    """Note that this process has come so far.

    Raises UserError where the file cannot be written.
    """
    if path := os.environ.get(VARIABLE):
        try:
            with open(path, "a") as file:
                file.write(f"{time.time():.3f} {os.getpid()} {what}\n")
        except OSError as error:
            raise UserError(f"{VARIABLE}={path} cannot be written ({error.strerror}); name another file") from error
