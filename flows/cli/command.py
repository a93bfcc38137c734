"""The `mscl` command as a process of its own, which ends at once."""

import atexit
import os
import sys
from contextlib import suppress

_code = 1
"""Of a crash, unless `main` says better."""


def main() -> None:
    """Run the command line and end without taking every object apart, which takes 1.5 s once PyTorch is loaded."""
    global _code
    # Registered before anything else is imported, so called last: threads have ended, and all others have cleaned up.
    atexit.register(_end)
    from flows.cli.app import main as run

    try:
        run()
    except SystemExit as ending:
        _code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
        raise


def _end() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a pipe that nobody reads any more
            stream.flush()
    os._exit(_code)
