"""The `mscl` command as a process of its own."""

import gc


def main() -> None:
    """Run the command line."""
    from flows.cli.app import main as run

    try:
        run()
    finally:
        # Python's last collection would take every object of PyTorch apart; `benchmarks.process_end` measures it.
        gc.freeze()
