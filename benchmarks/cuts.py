"""Cuts and fades that are found in joins of real videos, what is found where there is none, and what looking costs.

    python -m benchmarks.cuts VIDEOS [--joins 20] [--seed 0]

Two videos of VIDEOS, drawn at random, are joined by a cut, a dissolve or a fade through black, and encoded. Found is a
cut within 2 frames, a fade within its length. Clips without a cut are the videos' own beginnings, as they are, as a
shaking hand would hold them, and with flashes. PySceneDetect's AdaptiveDetector and ContentDetector see the same files
where it is installed (extra `bench`). VIDEOS may hold cuts of their own, which count as false here.

The last line is the CPU time of the detector over that of extract (`benchmarks.extract`, TV-L1) for the same videos,
both in one process; the target is under 3 %.
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.extract import SUFFIXES, clocked, measure, task_of
from mscl.config import DecodeLimits, FlowConfig
from mscl.video.cuts import CutFinder
from mscl.video.decoding import decode
from mscl.video.video_info import inspect_video

TARGET = 0.03
JOINS = {"cut": 0, "dissolve 6": 6, "dissolve 12": 12, "dissolve 24": 24, "black 8": 8, "black 15": 15}
_HALF = 60
_LEAST = 40
Frames = NDArray[np.uint8]
Find = Callable[[Path], list[int]]


def videos_below(folder: Path, *, least: int = 0) -> list[Path]:
    """Videos below a folder, those that have at least so many frames."""
    videos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return [path for path in videos if not least or inspect_video(path, limits=DecodeLimits()).num_frames >= least]


def frames_of(path: Path, size: tuple[int, int] = (240, 320)) -> Frames:
    decoding = decode(path, limits=DecodeLimits())
    frames = (cv2.resize(frame, size[::-1]) for frame in islice(iter(decoding), _HALF))
    return np.stack([np.asarray(frame, np.uint8) for frame in frames])


def joined(first: Frames, second: Frames, kind: str) -> tuple[Frames, int]:
    """The frames of a join, and the frame in its middle."""
    count = JOINS[kind]
    share = ((np.arange(count) + 1) / (count + 1))[:, None, None, None]
    if kind == "cut":
        return np.concatenate([first, second]), len(first)
    if kind.startswith("dissolve"):
        between = (first[-count:] * (1 - share) + second[:count] * share).astype(np.uint8)
        return np.concatenate([first[:-count], between, second[count:]]), len(first) - count // 2
    out, back = (first[-count:] * (1 - share)).astype(np.uint8), (second[:count] * share).astype(np.uint8)
    return np.concatenate([first[:-count], out, back, second[count:]]), len(first)


def shaken(frames: Frames, rng: np.random.Generator) -> Frames:
    height, width = frames.shape[1:3]
    places = np.clip(np.cumsum(rng.integers(-6, 7, (len(frames), 2)), axis=0) + 20, 0, 40)
    return np.stack(
        [frame[y : y + height - 40, x : x + width - 40] for frame, (y, x) in zip(frames, places, strict=True)]
    )


def flashing(frames: Frames, rng: np.random.Generator) -> Frames:
    lit = frames.copy()
    for start in range(int(rng.integers(3, 10)), len(lit), 12):
        lit[start : start + int(rng.integers(1, 4))] = 250
    return lit


def write(path: Path, frames: Frames) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "23", "preset": "veryfast"})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def detectors() -> dict[str, Find]:
    found: dict[str, Find] = {"mscl": lambda path: inspect_video(path, limits=DecodeLimits()).cuts}
    try:
        import scenedetect
    except ModuleNotFoundError:
        print("PySceneDetect is not installed: nothing to compare with")
        return found

    def by(make: Callable[[], Any]) -> Find:
        def find(path: Path) -> list[int]:
            scenes = scenedetect.detect(str(path), make())
            return [scene[0].frame_num for scene in scenes[1:]]

        return find

    return found | {
        "PySceneDetect adaptive": by(scenedetect.AdaptiveDetector),
        "PySceneDetect content": by(scenedetect.ContentDetector),
    }


def cost(videos: list[Path], folder: Path) -> float:
    """CPU time of the detector over that of extract."""
    clocks: dict[str, float] = defaultdict(float)
    for path in videos:
        finder = CutFinder()
        decode(path, limits=DecodeLimits()).count(clocked("cuts", finder.add, clocks))
        clocked("cuts", finder.cuts, clocks)()
    extract, _ = measure(task_of(videos, FlowConfig(method="tvl1"), folder))
    return clocks["cuts"] / extract["all"]


def main() -> None:
    """Measure and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--joins", type=int, default=20, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=4, help="videos whose extraction is clocked")
    options = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    rng = np.random.default_rng(options.seed)
    videos, long = videos_below(options.videos), videos_below(options.videos, least=_LEAST)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, find in detectors().items():
            print(name)
            draw = np.random.default_rng(options.seed)
            hits = extra = total = 0
            for kind, length in JOINS.items():
                found_here = 0
                for _ in range(options.joins):
                    a, b = draw.choice(len(long), 2, replace=False)
                    frames, middle = joined(frames_of(long[a]), frames_of(long[b]), kind)
                    found = find(write(folder / "join.mp4", frames))
                    right = [cut for cut in found if abs(cut - middle) <= max(2, length)]
                    found_here += bool(right)
                    extra += len(found) - len(right)
                hits, total = hits + found_here, total + options.joins
                print(f"  {kind:<12} found {found_here} of {options.joins}")
            print(f"  recall {hits / total:.3f}, precision {hits / max(1, hits + extra):.3f}")
            for title, spoil in (("as it is", lambda x, _: x), ("shaken", shaken), ("flashing", flashing)):
                falsely = 0
                for _ in range(options.joins):
                    path = long[int(draw.integers(len(long)))]
                    falsely += bool(find(write(folder / "none.mp4", spoil(frames_of(path), rng))))
                print(f"  no cut, {title:<9} found in {falsely} of {options.joins}")
        (folder / "stores").mkdir()
        share = cost(videos[:: max(1, len(videos) // options.count)][: options.count], folder / "stores")
        print(f"detector over extract (TV-L1): {share:.2%} of its CPU time, target < {TARGET:.0%}")


if __name__ == "__main__":
    main()
