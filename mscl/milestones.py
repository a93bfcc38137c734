"""How far each process of a run has come, and when: for whoever asks where the time between command and work goes.

With MSCL_MILESTONES=FILE in the environment, every process appends lines "<seconds since 1970> <process id> <what>" to
that file; without it, nothing is written. `benchmarks/gpu_extract.py` reads them.
"""

import os
import time

VARIABLE = "MSCL_MILESTONES"


def reached(what: str) -> None:
    """Note that this process has come so far."""
    if path := os.environ.get(VARIABLE):
        with open(path, "a") as file:
            file.write(f"{time.time():.3f} {os.getpid()} {what}\n")
