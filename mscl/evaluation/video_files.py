"""Video files that are in no store: clips cut straight out of them, as the stores would have given them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from mscl.config import DecodeLimits
from mscl.data.clips import Sampling
from mscl.data.geometry import centre_crop_into
from mscl.data.sampling import clip_indices, even_starts, part_indices
from mscl.sources.video import decode

Clips = npt.NDArray[np.uint8]
T = TypeVar("T")

_KEPT_FRAMES = 2000
"""A video with more indices than this is decoded twice, so that only the frames that are used stay in memory."""


def file_clips(
    path: Path,
    *,
    clips: int,
    length: int,
    stride: int,
    gap_frames: int,
    crop_px: int,
    short_side_px: int | None = None,
    sampling: Sampling = "clip",
    limits: DecodeLimits | None = None,
) -> Clips:
    """Evenly spaced centre-crop clips (K, T, H, H, 3) uint8 of a video file.

    Args:
        gap_frames: source frames per index, as in the flow settings of the run that trained the encoder.
        short_side_px: None takes 8/7 of the crop, as `EvalClips` does.
        limits: of the decoder.

    Raises:
        VideoError: the file does not decode, with its verdict.
    """
    limits = limits or DecodeLimits()
    short_side = round(crop_px * 8 / 7) if short_side_px is None else short_side_px

    def frames() -> Iterator[tuple[int, Clips]]:
        # Decoded no smaller than the final resize needs; enlarging is left to it.
        for number, frame in enumerate(decode(path, limits=limits, short_side=max(short_side, 128))):
            if number % gap_frames == 0:
                yield number // gap_frames, frame

    kept = dict(islice(frames(), _KEPT_FRAMES))
    total = len(kept)
    if total == _KEPT_FRAMES:
        total = sum(1 for _ in frames())
    indices_KT = _indices(total, clips=clips, length=length, stride=stride, sampling=sampling)
    if total > _KEPT_FRAMES:
        needed = set(indices_KT.ravel().tolist())
        kept = {index: frame for index, frame in frames() if index in needed}
    out = np.empty((clips, length, crop_px, crop_px, 3), np.uint8)
    images = [kept[index] for index in indices_KT.ravel().tolist()]
    centre_crop_into(images, out.reshape(-1, *out.shape[2:]), short_side_px=short_side)
    return out


def each_file(
    paths: Sequence[Path], read: Callable[[Path], T], *, ahead: int = 2
) -> Iterator[tuple[Path, T | Exception]]:
    """`read` of every path, in order, `ahead` of them decoded while the caller works on the one before.

    A file that cannot be used comes as the error it raised, and the others go on.
    """
    with ThreadPoolExecutor(max_workers=ahead) as pool:
        waiting: list[tuple[Path, Future[T]]] = []
        rest = iter(paths)
        try:
            waiting += [(path, pool.submit(read, path)) for path in islice(rest, ahead)]
            while waiting:
                path, future = waiting.pop(0)
                error = future.exception()
                yield path, error if isinstance(error, ValueError | OSError) else future.result()
                waiting += [(path, pool.submit(read, path)) for path in islice(rest, 1)]
        finally:
            for _, future in waiting:
                future.cancel()


def _indices(total: int, *, clips: int, length: int, stride: int, sampling: Sampling) -> npt.NDArray[Any]:
    if sampling == "segments":
        offsets = (np.arange(clips) + 0.5) / clips
        return np.stack([part_indices(total, parts=length, offsets=np.array(offset)) for offset in offsets])
    starts = even_starts(total, clips=clips, length=length, stride=stride).tolist()
    return np.stack([clip_indices(start, length=length, stride=stride, num_indices=total) for start in starts])
