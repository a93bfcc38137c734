"""Flow over 1, 2, 4 and 8 frames of real videos: what the pipeline asks for, without known flow to compare with.

    python -m benchmarks.flow_spans [--videos 8] [--quick] [--raft-weights FILE]

Per method and span, means over a pair of each video at 340x256, with the time of a pair on one thread: the photometric
error (mean difference of grey between the first frame and the second one warped back to it; pixels that leave the frame
meet its border) and the inconsistency of forward and backward flow (px, by which a point misses its start there and
back). TV-L1 minimises the first, RAFT neither. A flow of 0 is the `still` line. OpenCV's TV-L1 takes minutes:
`--quick` leaves it out, our preset `opencv` gives nearly the same numbers.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.tvl1 import opencv_default
from kernels.flow import compute_flow, to_grey

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SIZE = (340, 256)  # width, height
SPANS = (1, 2, 4, 8)
FOLDERS = ("hmdb51", "ucf101", "surveillance_fight", "kth")
Frames = NDArray[np.uint8]
Flow = NDArray[np.float32]


def clip(path: Path) -> list[Frames] | None:
    """RGB frames 20 to 28 of a video at SIZE, None where it is shorter."""
    capture = cv2.VideoCapture(str(path))
    frames = [frame for ok, frame in (capture.read() for _ in range(20 + max(SPANS) + 1)) if ok][20:]
    if len(frames) <= max(SPANS):
        return None
    return [np.asarray(cv2.resize(frame[..., ::-1], SIZE, interpolation=cv2.INTER_AREA), np.uint8) for frame in frames]


def clips(count: int) -> list[list[Frames]]:
    """Of `count` videos, the folders in turn."""
    by_folder = [
        sorted(p for p in (DATA / "videos" / name).rglob("*.*") if p.is_file())[3::7] or [] for name in FOLDERS
    ]
    turns = [path for turn in range(count) for paths in by_folder for path in paths[turn : turn + 1]]
    return [found for found in map(clip, turns) if found][:count]


def warped(plane_HW: NDArray[np.floating], flow_HW2: Flow) -> NDArray[np.float32]:
    """plane(x + flow), bilinear, beyond the border the value there."""
    height, width = plane_HW.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x + flow_HW2[..., 0], y + flow_HW2[..., 1]
    grid = torch.from_numpy(np.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], -1))[None]
    image = torch.from_numpy(plane_HW.astype(np.float32))[None, None]
    seen = torch.nn.functional.grid_sample(image, grid, padding_mode="border", align_corners=True)
    return np.asarray(seen[0, 0].numpy(), np.float32)


def judge(first: Frames, second: Frames, forward: Flow, backward: Flow) -> tuple[float, float]:
    """Photometric error in grey values, inconsistency in px."""
    grey = [to_grey(frame[None])[0] for frame in (first, second)]
    photometric = float(np.abs(warped(grey[1], forward) - grey[0]).mean())
    back = np.stack([warped(backward[..., axis], forward) for axis in (0, 1)], -1)
    return photometric, float(np.linalg.norm(forward + back, axis=-1).mean())


def opencv(first: Frames, second: Frames) -> Flow:
    """OpenCV's TV-L1 at its defaults."""
    grey = [to_grey(frame[None])[0] for frame in (first, second)]
    return opencv_default(grey[0], grey[1])


def ours(first: Frames, second: Frames, *, method: str, **options: str | int | Path) -> Flow:
    """A method of ours on one pair."""
    return np.asarray(compute_flow(first[None], second[None], method=method, **options)[0])  # type: ignore[arg-type]


def main() -> int:
    """Print a line per method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=8, help="videos, one pair of each for every span")
    parser.add_argument("--raft-weights", type=Path, default=DATA / "weights" / "raft_small_princeton_torchvision.pth")
    parser.add_argument("--quick", action="store_true", help="without OpenCV's TV-L1")
    options = parser.parse_args()
    found = clips(options.videos) if (DATA / "videos").is_dir() else []
    if not found:
        print(f"no real videos: {DATA.parent.name}/{DATA.name} is not beside the checkout")
        return 0
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    methods: dict[str, Callable[[Frames, Frames], Flow]] = {
        "still": lambda first, _: np.zeros((*first.shape[:2], 2), np.float32),
        "OpenCV TV-L1": opencv,
        **{
            f"tvl1 {name}": partial(ours, method="tvl1", preset=name)
            for name in ("opencv", "accurate", "balanced", "fast")
        },
        "dis": partial(ours, method="dis"),
    }
    if options.quick:
        del methods["OpenCV TV-L1"]
    if options.raft_weights.is_file():
        methods["raft_small"] = partial(ours, method="raft_small", raft_weights=options.raft_weights, raft_updates=12)
    print(f"{len(found)} videos; photometric error in grey values / inconsistency in px / CPU ms, by span in frames")
    print(f"{'':14}" + "".join(f"{span:>24}" for span in SPANS))
    for name, run in methods.items():
        cells = []
        for span in SPANS:
            pairs = [(frames[0], frames[span]) for frames in found]
            start = time.thread_time()
            flows = [(run(*pair), run(*pair[::-1])) for pair in pairs]
            ms = 1e3 * (time.thread_time() - start) / (2 * len(pairs))
            scores = [judge(*pair, *both) for pair, both in zip(pairs, flows, strict=True)]
            grey, miss_px = (statistics.mean(score[k] for score in scores) for k in (0, 1))
            cells.append(f"{grey:8.2f} / {miss_px:6.3f} / {ms:4.0f}")
        print(f"{name:14}" + "".join(f"{cell:>24}" for cell in cells), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
