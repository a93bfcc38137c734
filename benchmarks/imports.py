"""What the imports of an embedding process cost, and what they would cost with torchvision's networks.

    python -m benchmarks.imports [--rounds N]

Each in a fresh interpreter, in turns; printed: the quicker half's mean of each, and the ratio. For this
difference, which every command pays that reads an encoder, `mscl/models/video_resnet.py` is our own.
"""

import argparse
import statistics
import subprocess
import sys
import time

OURS = "import mscl.embedding.process, mscl.models.files"
WAYS = {"as it is": OURS, "with torchvision": f"{OURS}, torchvision.models.video"}


def seconds(code: str) -> float:
    """Wall seconds of an interpreter that runs the code."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    rounds = parser.parse_args().rounds
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, code in WAYS.items():
            taken[name].append(seconds(code))
    quick = {name: statistics.mean(sorted(each)[: (rounds + 1) // 2]) for name, each in taken.items()}
    for name, value in quick.items():
        print(f"{name:<18} {value:6.2f} s")
    print(f"with torchvision {quick['with torchvision'] / quick['as it is']:.2f} times as long")


if __name__ == "__main__":
    main()
