"""The `mscl` command as a process of its own."""

import gc
import sys

INTERRUPTED = 130
STOPPED = "\nmscl: stopped; the same command continues where this one ended."


def main() -> None:
    """Run the command line; Ctrl-C is answered from the first import on."""
    try:
        from flows.cli.app import main as run

        run()
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        sys.exit(INTERRUPTED)
    finally:
        # Python's last collection would take every object of PyTorch apart; `benchmarks.process_end` measures it.
        gc.freeze()
