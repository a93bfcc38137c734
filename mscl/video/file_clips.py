"""Video files that are in no store: clips cut straight out of them, as the stores would have given them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import simplejpeg

from mscl.devices import cores
from mscl.video.clip_indices import clip_indices, even_starts, part_indices
from mscl.video.clips import Sampling
from mscl.video.config import DecodeLimits
from mscl.video.decoding import Decoding, decode, shrunk, stored_size
from mscl.video.geometry import crops_into
from mscl.video.opening import VideoError
from storage.frame_store import encode_jpeg

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
    span_frames: int = 0,
    crop_px: int,
    short_side_px: int | None = None,
    stored_px: int = 128,
    computed_px: int = 256,
    jpeg_quality: int = 90,
    sampling: Sampling = "clip",
    crops: int = 1,
    later: int = 0,
    limits: DecodeLimits | None = None,
) -> Clips:
    """Evenly spaced clips (K, T, H, H, 3) uint8 of a video file, K = clips * crops.

    Args:
        gap_frames: source frames per index, as in the flow settings of the run that trained the encoder.
        span_frames: source frames that one flow field spans in that run: its stores end where no field begins.
        short_side_px: None takes 8/7 of the crop, as `EvalClips` does.
        stored_px: short side of the frames in the stores of that run; they are shrunk to it before they are cropped.
        computed_px: short side at which that run computed flow: videos are first shrunk to it.
        jpeg_quality: of the stores. Frames go through the same JPEG: features of a stored video and of its file, whose
            frames have all the detail, would else differ by a hundredth.
        crops: 1, the centre, or 3 along the longer side.
        later: show the frames that many indices after those of the clips; the last frame stands for what lies beyond.
        limits: of the decoder.

    Raises:
        VideoError: not one frame of the file decodes; with its verdict.
    """
    limits = limits or DecodeLimits()
    short_side = round(crop_px * 8 / 7) if short_side_px is None else short_side_px

    first_px = max(stored_px, computed_px)
    decoding = decode(path, limits=limits, short_side=first_px)
    kept: dict[int, Clips] = {}
    for number, frame in enumerate(decoding):
        if number % gap_frames == 0 and len(kept) < _KEPT_FRAMES:
            kept[number // gap_frames] = _as_stored(frame, decoding, stored_px)
    if decoding.num_frames == 0:
        raise VideoError(decoding.verdict, decoding.reason)
    there = -(-decoding.num_frames // gap_frames)
    total = max(1, -(-(decoding.num_frames - span_frames) // gap_frames))
    indices_KT = _indices(total, clips=clips, length=length, stride=stride, sampling=sampling)
    indices_KT = np.minimum(indices_KT + later, there - 1)
    if indices_KT.max() >= _KEPT_FRAMES:
        needed = set((indices_KT * gap_frames).ravel().tolist())
        again = decode(path, limits=limits, short_side=first_px)
        kept = {
            number // gap_frames: _as_stored(frame, again, stored_px)
            for number, frame in enumerate(again)
            if number in needed
        }
    out = np.empty((clips, crops, length, crop_px, crop_px, 3), np.uint8)
    stored = {index: _stored(kept[index], jpeg_quality) for index in np.unique(indices_KT).tolist()}
    for indices_T, out_VTHW3 in zip(indices_KT.tolist(), out, strict=True):
        crops_into([stored[index] for index in indices_T], out_VTHW3, short_side_px=short_side)
    return out.reshape(-1, *out.shape[2:])


def _as_stored(frame_HW3: Clips, decoding: Decoding, stored_px: int) -> Clips:
    """The frame at the size of the stores; the video's own aspect counts, not that of the decoded frame."""
    return shrunk(frame_HW3, *stored_size(decoding.source_height, decoding.source_width, stored_px))


def _stored(frame_HW3: Clips, quality: int) -> Clips:
    """The frame as the frame store gives it back."""
    return np.asarray(simplejpeg.decode_jpeg(encode_jpeg(frame_HW3, quality=quality), colorspace="RGB"), np.uint8)


def readable(paths: Sequence[Path], *, limits: DecodeLimits | None = None) -> tuple[list[Path], dict[Path, str]]:
    """Files that decode, and why the others do not: each is decoded once in a child process that may die of it."""
    from mscl.video.decode_pool import inspect_many

    limits = limits or DecodeLimits()
    found = inspect_many(paths, limits=limits, workers=min(cores(), len(paths)), min_frames=1)
    failed = {path: info.reason for path, info in zip(paths, found, strict=True) if info.num_frames == 0}
    return [path for path in paths if path not in failed], failed


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
