"""The `mscl` command as a process of its own."""

import gc
import os
import sys

from flows.cli import interrupted

WAIT = "mscl ..."
ERASED = "\r\x1b[2K"
USER_ERROR = 2


def main() -> None:
    """Run the command line; from the first import on it shows that it lives, and answers Ctrl-C."""
    # What a shell asks for completion must not write into the line that is typed.
    is_seen = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and "_MSCL_COMPLETE" not in os.environ
    try:
        if is_seen:
            print(WAIT, end="", file=sys.stderr, flush=True)
        try:
            from flows.cli.app import main as run
        finally:
            if is_seen:
                print(ERASED, end="", file=sys.stderr, flush=True)

        run()
    except KeyboardInterrupt:
        print(interrupted.SAID, file=sys.stderr)
        sys.exit(interrupted.CODE)
    except ImportError as error:
        if error.name != "kernels":
            raise
        print(f"mscl: {error}", file=sys.stderr)  # another package has taken the place of ours
        sys.exit(USER_ERROR)
    finally:
        # Python's last collection would take every object of PyTorch apart; `benchmarks.process_end` measures it.
        gc.freeze()
