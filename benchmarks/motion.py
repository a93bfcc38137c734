"""Motion differences: fields per second of kernels.motion against METHOD 1.2 written plainly in NumPy and SciPy.

    python benchmarks/motion.py

One process, one thread each, the two interleaved, medians. The plain version is the tests' oracle in float32, one
field at a time, as a user would write it from the text.
"""

import runpy
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from kernels.motion import default_window_px, field_differences

GRIDS = ((128, 171), (128, 228))
FIELDS, ROUNDS = 48, 7
ORACLE = Path(__file__).resolve().parents[1] / "tests" / "kernels" / "motion_oracle.py"


def smooth_flows(num_fields: int, height: int, width: int) -> np.ndarray:
    """Float32 fields (M, H, W, 2) that look like flow: large smooth motion with a little noise."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.normal(size=(num_fields, 2, 6, 8)).astype(np.float32))
    fine = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
    noise = rng.normal(scale=0.05, size=(num_fields, height, width, 2))
    return (4 * fine.movedim(1, -1).numpy() + noise).astype(np.float32)


def main() -> None:
    """Print a line per grid."""
    torch.set_num_threads(1)
    plainly = runpy.run_path(str(ORACLE))["field_differences"]
    for height, width in GRIDS:
        flows = smooth_flows(FIELDS, height, width)
        window = default_window_px(height)
        ours, plain = [], []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            got = field_differences(flows, window_px=window)
            middle = time.perf_counter()
            expected = plainly(flows, weight="rgb_map", attention_mode="max", pool="avg", window=window)
            ours.append(middle - start)
            plain.append(time.perf_counter() - middle)
        ratio = statistics.median(b / a for a, b in zip(ours, plain, strict=True))
        error = np.abs(got - expected).max() / expected.max()
        print(
            f"{height}x{width}: {FIELDS / statistics.median(ours):.0f} fields/s, "
            f"plain {FIELDS / statistics.median(plain):.0f}, ratio {ratio:.1f}; relative error {error:.0e}"
        )


if __name__ == "__main__":
    main()
