"""End-point error and time of every flow method on frame pairs with known flow.

    python benchmarks/flow.py [FOLDER] [--raft-weights FILE] [--methods tvl1 dis ...]

Without arguments: the pairs and RAFT-small weights of the data folder beside the checkout, where there is one. One
thread. Where the errors of RAFT-small that came with its weights are known, they must be met within .02 px: the
script ends with 1 where they are not.
"""

import argparse
import functools
import sys
from pathlib import Path

import cv2
import torch

from kernels.evaluate import evaluate_folder, mean_score
from kernels.flow import METHODS, compute_flow

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
RAFT_SMALL_EPE_PX = {
    "Dimetrodon": 0.253, "FlyingChairs_00001": 1.137, "Grove2": 0.355, "Hydrangea": 0.314,
    "KITTI_example": 8.762, "RubberWhale": 0.320, "Urban2": 0.530, "Venus": 0.381,
}  # fmt: skip


def main() -> int:
    """Print a line per pair and method; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=DATA / "flow_gt")
    parser.add_argument("--raft-weights", type=Path, default=DATA / "weights" / "raft_small_princeton_torchvision.pth")
    parser.add_argument("--methods", nargs="+", default=["tvl1", "dis", "farneback", "raft_small"], choices=METHODS)
    options = parser.parse_args()
    if not options.folder.is_dir():
        print(f"no pairs to measure: {options.folder.name}/ is not there; give a folder with .flo files")
        return 0
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    missed = 0
    for method in options.methods:
        find = functools.partial(compute_flow, method=method, raft_weights=options.raft_weights, raft_updates=12)
        scores = [result.score for result in evaluate_folder(options.folder, find)]
        for score in [*scores, mean_score(scores)]:
            print(
                f"{method:<11} {score.name:<20} EPE {score.epe_mean_px:7.3f} px, 99% {score.epe_p99_px:8.3f} px, "
                f"zero flow {score.zero_epe_px:7.3f} px, {1000 * score.seconds:8.1f} ms"
            )
            expected = RAFT_SMALL_EPE_PX.get(score.name) if method == "raft_small" else None
            if expected is not None and abs(score.epe_mean_px - expected) > 0.02:
                print(f"  expected {expected:.3f} px")
                missed += 1
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
