"""A job for the workers of the decode pool that does what it is asked, good or bad."""

import ctypes
import os
import signal
import time
from typing import Any


def work(*, kind: str, number: int) -> dict[str, Any]:
    """Return the number, or misbehave."""
    match kind:
        case "segfault":
            ctypes.string_at(0)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(7)
        case "raise":
            raise KeyError("no such thing")
        case "hang":
            time.sleep(600)
        case "hoard":
            hoard = bytearray(8 << 30)
            hoard[0] = 1
        case "print":
            print("a library says something", flush=True)
            os.write(1, b"and writes to stdout directly\n")
    return {"number": number}
