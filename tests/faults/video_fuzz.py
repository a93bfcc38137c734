"""Mutated copies of videos through the decode pool: a verdict for each, no crash of ours, no hang.

`python tests/faults/video_fuzz.py --count 200 --seed 0 --videos DIR` (without DIR: on videos that it generates).
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from mscl.config import DecodeLimits
from mscl.video.decode_pool import inspect_many
from mscl.video.video_info import VideoInfo

LIMITS = DecodeLimits(max_pixels=4096 * 4096, max_frames=5000, max_bytes=1 << 28, timeout_seconds=20.0)
Bytes = NDArray[np.uint8]


def _flip_bits(data: Bytes, rng: np.random.Generator) -> Bytes:
    places = rng.integers(len(data), size=int(rng.integers(1, 200)))
    data[places] ^= (1 << rng.integers(8, size=len(places))).astype(np.uint8)
    return data


def _cut(data: Bytes, rng: np.random.Generator) -> Bytes:
    return data[: rng.integers(len(data))]


def _remove(data: Bytes, rng: np.random.Generator) -> Bytes:
    start, length = rng.integers(len(data)), rng.integers(1, 1 + len(data) // 4)
    return np.concatenate([data[:start], data[start + length :]])


def _overwrite(data: Bytes, rng: np.random.Generator) -> Bytes:
    start, length = rng.integers(len(data)), rng.integers(1, 5000)
    patch = rng.integers(256, size=len(data[start : start + length]), dtype=np.uint8)
    data[start : start + length] = patch * (rng.random() < 0.7)
    return data


def _header(data: Bytes, rng: np.random.Generator) -> Bytes:
    """Sizes, counts and names sit at the two ends of most containers."""
    end = min(len(data), 2000)
    places = rng.integers(end, size=int(rng.integers(1, 30)))
    if rng.random() < 0.5:
        places = len(data) - 1 - places
    data[places] = rng.choice(np.array([0, 1, 127, 128, 255], np.uint8), size=len(places))
    return data


def _shuffle(data: Bytes, rng: np.random.Generator) -> Bytes:
    blocks = np.array_split(data, int(rng.integers(2, 12)))
    return np.concatenate([blocks[i] for i in rng.permutation(len(blocks))])


MUTATIONS: tuple[Callable[[Bytes, np.random.Generator], Bytes], ...] = (
    _flip_bits, _cut, _remove, _overwrite, _header, _shuffle
)  # fmt: skip


def write_mutants(videos: list[Path], folder: Path, *, count: int, seed: int) -> list[Path]:
    """`count` files in `folder`, each a video spoilt by one or two mutations; the same ones for the same seed."""
    written = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        source = videos[rng.integers(len(videos))]
        data = np.frombuffer(source.read_bytes(), np.uint8).copy()
        names = []
        for mutation in rng.permutation(len(MUTATIONS))[: rng.integers(1, 3)]:
            if len(data):
                data = MUTATIONS[mutation](data, rng)
                names.append(MUTATIONS[mutation].__name__.strip("_"))
        path = folder / f"{number:04d}-{'-'.join(names)}{source.suffix}"
        path.write_bytes(data.tobytes())
        written.append(path)
    return written


def fuzz(videos: list[Path], folder: Path, *, count: int, seed: int, workers: int = 2) -> list[tuple[Path, VideoInfo]]:
    """Findings of all mutants."""
    mutants = write_mutants(videos, folder, count=count, seed=seed)
    return list(zip(mutants, inspect_many(mutants, limits=LIMITS, workers=workers), strict=True))


def write_sample_videos(folder: Path) -> list[Path]:
    """Small videos in several containers and codecs, generated."""
    written = []
    for name, codec in (("a.mp4", "libx264"), ("b.avi", "mpeg4"), ("c.mkv", "libx264"), ("d.mpg", "mpeg1video")):
        rng = np.random.default_rng(0)
        path = folder / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            ground = rng.integers(256, size=(64, 192, 3), dtype=np.uint8)
            for shift in range(0, 60, 2):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(ground[:, shift : shift + 96]), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        written.append(path)
    return written


def main() -> int:
    """Run the storm; exit code 1 if a decoder process crashed or a file took longer than its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--videos", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.videos:
            videos = sorted(
                path for path in arguments.videos.rglob("*") if path.is_file() and path.stat().st_size > 100
            )
        else:
            videos = write_sample_videos(folder)
        (folder / "mutants").mkdir()
        started_s = time.monotonic()
        findings = fuzz(videos, folder / "mutants", count=arguments.count, seed=arguments.seed)
        print(dict(Counter(info.verdict for _, info in findings)), f"{time.monotonic() - started_s:.1f} s")
        bad = [(path.name, info) for path, info in findings if info.verdict in ("crashed", "timeout")]
        for path_name, info in bad:
            print(path_name, info.verdict, info.reason)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
