"""What freezing its objects buys the `mscl` command at its end: seconds from its last line to the end of its process.

    python -m benchmarks.process_end [--rounds N]

Three ends by turns, each of a process that has imported what `mscl run` has: Python's own, which takes every object
apart; the same with all objects frozen first (`gc.freeze`), as `flows/cli/command.py` does; and `os._exit`.
"""

import argparse
import statistics
import subprocess
import sys
import time

WORK = "import sys, time, gc, os, flows.cli.app, flows.pipeline, torch, torchvision, mscl.api\n"
SAY = "sys.stdout.write(str(time.time())); sys.stdout.flush()\n"
PLAIN = "Python's own"
ENDS = {PLAIN: SAY, "frozen objects": "gc.freeze()\n" + SAY, "os._exit": SAY + "os._exit(0)\n"}


def seconds_to_end(end: str) -> float:
    """From the last line of a process to its end, by the clock that both read."""
    done = subprocess.run([sys.executable, "-c", WORK + end], capture_output=True, text=True, check=True)
    return time.time() - float(done.stdout)


def main() -> None:
    """Measure and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = [{name: seconds_to_end(end) for name, end in ENDS.items()} for _ in range(parser.parse_args().rounds)]
    medians = {name: statistics.median(found[name] for found in rounds) for name in ENDS}
    for name, median in medians.items():
        print(f"{name:<16} {median:6.2f} s  {medians[PLAIN] / median:5.1f}x as fast as Python's own")


if __name__ == "__main__":
    main()
